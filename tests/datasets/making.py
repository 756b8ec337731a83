"""Files that the tests of datasets upload."""

import tarfile
import zipfile
from io import BytesIO

from PIL import Image


def picture(color: str = "red", kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    """A small picture file of one colour."""
    file = BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def zip_of(files: dict[str, bytes | str]) -> bytes:
    """A .zip file with these members."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tar_of(files: dict[str, bytes | str], *more: tarfile.TarInfo) -> bytes:
    """A .tar.gz file with these members, and members without content."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
        for info in more:
            archive.addfile(info)
    return file.getvalue()


def xlsx_of(*sheets: list[list[object]]) -> bytes:
    """An .xlsx file; each sheet is a list of rows."""
    import openpyxl

    book, file = openpyxl.Workbook(), BytesIO()
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet() if number else book.active
        for row in rows:
            sheet.append(row)
    book.save(file)
    return file.getvalue()


def parquet_of(columns: dict[str, list[object]]) -> bytes:
    """A .parquet file with these columns."""
    import pyarrow as pa
    from pyarrow import parquet

    file = BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()
