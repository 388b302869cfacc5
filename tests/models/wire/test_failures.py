"""What a server's refusals mean: whose fault a status is, and how long to wait."""

import pytest

from tts import errors
from tts.models.wire.failures import error_of, error_text, retry_after_s


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"error":{"message":"bad key"}}', errors.Unauthorized),
        (403, b"forbidden", errors.Unauthorized),
        (404, b'{"error":{"message":"The model `x` does not exist.","code":404}}', errors.ModelNotFound),
        (404, b'{"detail":"Not Found"}', errors.RequestRejected),
        (
            400,
            b'{"object":"error","message":"This model\'s maximum context length is 5 tokens."}',
            errors.ContextTooLong,
        ),
        (400, b'{"error":{"message":"x","code":"context_length_exceeded"}}', errors.ContextTooLong),
        (422, b'{"detail":[{"type":"less_than","loc":["body","top_p"],"msg":"too big"}]}', errors.RequestRejected),
        (429, b'{"error":"slow down"}', errors.Overloaded),
        (429, b'{"error":{"message":"x","code":"insufficient_quota"}}', errors.NoCredit),
        (
            400,
            b'{"type":"error","error":{"message":"Your credit balance is too low to access the API"}}',
            errors.NoCredit,
        ),
        (400, b'{"error":{"message":"Access denied","code":"Arrearage"}}', errors.NoCredit),
        (412, b'{"error":{"message":"Account x is suspended, maybe by its monthly spending limit"}}', errors.NoCredit),
        (429, b'{"error":{"code":"1113","message":"Insufficient balance. Please recharge."}}', errors.NoCredit),
        (
            429,
            b'[{"error":{"code":429,"message":"You exceeded your current quota. Retry in 20 s"}}]',
            errors.Overloaded,
        ),
        (400, b'[{"error":{"code":400,"message":"API key expired. Please renew it."}}]', errors.Unauthorized),
        (400, b'{"error":{"message":"input length and `max_tokens` exceed context limit"}}', errors.ContextTooLong),
        (400, b'[{"error":{"message":"exceeds the maximum number of tokens allowed (8)"}}]', errors.ContextTooLong),
        (503, b"", errors.Overloaded),
        (500, b"<html>oops</html>", errors.ServerFailed),
        (302, b"", errors.BadResponse),
    ],
)
def test_each_status_is_somebodys_fault(status: int, body: bytes, error: type[errors.EndpointError]) -> None:
    found = error_of(status, {}, body, "http://h/v1", "x")
    assert type(found) is error
    assert found.facts["endpoint"] == "http://h/v1" and found.facts["status"] == status
    assert "http://h/v1" in found.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "9", "retry-after-ms": "150"}, 0.15),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:05 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 5.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999 07:28:05 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:05 +99999999999999", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_of_a_web_server_s_page_the_title_is_said_and_the_base_url_doubted():
    page = b"<!DOCTYPE HTML>\n<html><head><title>Error\n response</title></head><body>much</body></html>"
    assert error_text(page)[0].startswith(
        "an HTML page (Error response), which no model server writes. Is the base URL"
    )
    assert error_text(b"<html><body>much</body></html>")[0].startswith("an HTML page, which")
    assert error_text(b"busy < now")[0] == "busy < now"
