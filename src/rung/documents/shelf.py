"""Every reader: its name and where it is."""

READERS: dict[str, str] = {
    "text": "rung.documents.text:TEXT",
    "markdown": "rung.documents.markdown:MARKDOWN",
    "html": "rung.documents.html:HTML",
    "pdf": "rung.documents.pdf:PDF",
    "docx": "rung.documents.docx:DOCX",
    "csv": "rung.documents.table:CSV",
    "jsonl": "rung.documents.table:JSONL",
    "json": "rung.documents.table:JSON",
    "code": "rung.documents.code:CODE",
}
