"""Read the text of files that people write: in UTF-8, with a byte-order mark or without."""

import codecs

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode(content: bytes) -> str:
    """Return the text of a file's content, without a byte-order mark.

    Raises ValueError with a sentence about the file ("it is …"), which shows nothing of it: some
    editors write UTF-16, and what is no text at all may be a secret.
    """
    if content.startswith(_UTF_16):
        raise ValueError("it is text in UTF-16: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Without the cause, whose message would show bytes of the secret.
        raise ValueError("it is not text in UTF-8") from None
