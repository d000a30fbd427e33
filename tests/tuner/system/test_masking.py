"""Mask secrets in URLs and in values of environment variables, for messages and logs."""

import pytest

from tuner.system.masking import masked_url, without_secrets, without_urls


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.slack.com/services/T0/B0/X0", "https://hooks.slack.com/***"),
        ("https://user:secret@host:8443/a?token=secret#secret", "https://host:8443/***"),
        ("https://host?token=secret", "https://host/***"),
        ("slack://tokenA/tokenB/tokenC", "slack://***"),
        ("tgram://123:secret/42", "tgram://***"),
        ("secret", "***"),
    ],
)
def test_only_parts_of_a_url_that_are_not_secret_are_shown(url, shown):
    assert masked_url(url) == shown
    assert without_urls(f"a {url} b") == (f"a {shown} b" if "://" in url else f"a {url} b")


def test_values_of_variables_that_are_named_like_secrets_are_masked():
    environment = {"WANDB_API_KEY": "0123456789abcdef", "MLFLOW_TRACKING_PASSWORD": "pass word", "HOME": "/home/u"}
    text = "key 0123456789abcdef, 'pass word' of /home/u at http://u:pass@h/x"
    assert without_secrets(text, environment) == "key ***, '***' of /home/u at http://h/***"


def test_short_values_are_not_secrets():
    assert without_secrets("1 of 10", {"SOME_KEY": "1", "MY_TOKEN": ""}) == "1 of 10"
