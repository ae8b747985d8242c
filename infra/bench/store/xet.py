"""Hugging Face's deduplicating client against a folder, as a peer in the store's benchmark.

    xet.py add REPOSITORY NOTE FILE...   keeps the files; what they are called there goes to NOTE
    xet.py restore REPOSITORY NOTE OUT   writes them to OUT/<n>
"""

import json
import sys
from pathlib import Path

import hf_xet


def add(repository: str, note: str, *files: str) -> None:
    with hf_xet.XetSession().new_upload_commit(endpoint=f"local://{repository}") as commit:
        uploads = [commit.start_upload_file(str(Path(file).resolve())) for file in files]
    found = [upload.result().xet_info for upload in uploads]
    Path(note).write_text(json.dumps([[info.hash, info.file_size] for info in found]))


def restore(repository: str, note: str, out: str) -> None:
    with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{repository}") as group:
        for n, (digest, size) in enumerate(json.loads(Path(note).read_text())):
            group.start_download_file(hf_xet.XetFileInfo(digest, size), str(Path(out, str(n))))


{"add": add, "restore": restore}[sys.argv[1]](*sys.argv[2:])
