"""An S3 server on this machine, for tests of stores."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
from moto.server import ThreadedMotoServer


@dataclass(frozen=True)
class S3Server:
    """Running server with one bucket."""

    endpoint: str
    bucket: str

    @property
    def url(self) -> str:
        """URL of the bucket."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which clients find the server, and credentials that it accepts."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "s3cretkey",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextlib.contextmanager
def s3_server(address: str = "127.0.0.1", port: int = 0) -> Iterator[S3Server]:
    """Start a server with an empty bucket for the duration of the block."""
    server = ThreadedMotoServer(ip_address=address, port=port, verbose=False)
    server.start()
    try:
        host, own_port = server.get_host_and_port()
        found = S3Server(endpoint=f"http://{host}:{own_port}", bucket=f"team-{secrets.token_hex(4)}")
        client = boto3.client(
            "s3",
            endpoint_url=found.endpoint,
            aws_access_key_id="tester",
            aws_secret_access_key="s3cretkey",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=found.bucket)
        yield found
    finally:
        server.stop()


@contextlib.contextmanager
def in_environment(variables: dict[str, str]) -> Iterator[None]:
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
