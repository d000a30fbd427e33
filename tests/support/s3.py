"""An S3 server on this machine, for tests of stores."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator, Mapping

import boto3
from moto.server import ThreadedMotoServer

_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "s3cretkey", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server:
    """Server with one bucket, in threads of this process; its content outlives a stop."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        """Start a server with an empty bucket on an address of this machine."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
        self._address = address
        self._port = 0
        self.bucket = f"team-{secrets.token_hex(4)}"
        self.start()
        with in_environment(self.environment):
            boto3.client("s3").create_bucket(Bucket=self.bucket)

    @property
    def url(self) -> str:
        """URL of the bucket."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which clients find the server, and credentials."""
        return {"AWS_ENDPOINT_URL": f"http://{self._address}:{self._port}", **_CREDENTIALS}

    def start(self) -> None:
        """Start the server again, at the port that it had before."""
        self._server = ThreadedMotoServer(ip_address=self._address, port=self._port, verbose=False)
        self._server.start()
        self._port = int(self._server.get_host_and_port()[1])

    def stop(self) -> None:
        """Stop the server: connections are refused."""
        self._server.stop()


@contextlib.contextmanager
def s3_server(address: str = "127.0.0.1") -> Iterator[S3Server]:
    """Run a server for the duration of the block."""
    server = S3Server(address)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, which its children inherit, for the duration of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
