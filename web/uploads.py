"""Reads a form with a file, bounded. A file becomes a field like any other: its bytes in base64, as operations take it.

So the confirmation sends it again as it sends every other field, and a form that was refused still has it.
"""

import base64

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from web.faults import InvalidInput, PageFault
from web.fields import FIELDS_MAX, Pairs

UPLOAD_MEDIA = b"multipart/form-data"
# In base64 and with what an urlencoded form escapes of it, a file of FILE_BYTES_MAX fits FORM_WITH_FILE_BYTES_MAX.
FILE_BYTES_MAX, FORM_WITH_FILE_BYTES_MAX = 2 * 1024 * 1024, 3 * 1024 * 1024


def read_upload(content_type: bytes, body: bytes) -> Pairs:
    """The fields of a form that was sent with files; a file that was chosen replaces the field of its name.

    Raises ``InvalidInput``, ``PageFault`` 413.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidInput("The form does not say where its fields end.")
    fields: list[tuple[str, str]] = []
    files: dict[str, str] = {}

    def on_field(field: Field) -> None:
        fields.append((_text(field.field_name), _text(field.value).replace("\r\n", "\n")))

    def on_file(file: File) -> None:
        content = file.file_object
        content.seek(0)
        read = content.read()
        if file.file_name or read:
            files[_text(file.field_name)] = _encoded(read)

    # A body that is in memory needs no file on disk.
    config = {"MAX_MEMORY_FILE_SIZE": FORM_WITH_FILE_BYTES_MAX, "MAX_FIELDS": FIELDS_MAX}
    try:
        parser = FormParser("multipart/form-data", on_field, on_file, boundary=boundary, config=config)
        parser.write(body)
        parser.finalize()
        parser.close()
    except FormParserError:
        raise InvalidInput("The form cannot be read: was it cut off?") from None
    return (*(pair for pair in fields if pair[0] not in files), *files.items())


def _encoded(content: bytes) -> str:
    if len(content) > FILE_BYTES_MAX:
        sentence = f"The file is larger than {FILE_BYTES_MAX} bytes."
        raise PageFault(413, "body_too_large", sentence, remedy="Larger files go by the command line.")
    return base64.b64encode(content).decode()


def _text(value: bytes | None) -> str:
    try:
        text = (value or b"").decode()
    except UnicodeDecodeError:
        raise InvalidInput("The form has characters that are no UTF-8.") from None
    if "\0" in text:
        raise InvalidInput("The form has a NUL character.")
    return text
