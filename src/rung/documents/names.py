"""Every reader: its name and where it is."""

READERS: dict[str, str] = {
    "text": "rung.documents.formats.text:TEXT",
    "markdown": "rung.documents.formats.markdown.reader:MARKDOWN",
    "html": "rung.documents.formats.html:HTML",
    "pdf": "rung.documents.formats.pdf:PDF",
    "docx": "rung.documents.formats.docx:DOCX",
    "csv": "rung.documents.formats.table:CSV",
    "jsonl": "rung.documents.formats.table:JSONL",
    "json": "rung.documents.formats.table:JSON",
    "code": "rung.documents.formats.code:CODE",
}
