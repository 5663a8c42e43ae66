"""Texts of kernels and users made fit for formats that do not take every character."""

import re
import xml.etree.ElementTree as ET

# XML 1.0 has no way to write these (https://www.w3.org/TR/xml/#charsets).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return `text` with each character that XML cannot hold written out, like \\x1b."""
    return _NOT_XML.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return `text` with every control character written out, so that it stays on its line."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029]",
        lambda match: match[0].encode("unicode_escape").decode(),
        text,
    )


def add_elements(parent: ET.Element, **texts: str) -> None:
    """Add a child element with its text for each argument, in order."""
    for name, text in texts.items():
        ET.SubElement(parent, name).text = xml_text(text)
