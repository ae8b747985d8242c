"""Read an artifact out of a Fretsaw store without Fretsaw (docs/store-format.md).

    python3 docs/read_store.py STORE DIGEST FOLDER

STORE is the store's folder, or s3://bucket/prefix (then boto3 is needed). DIGEST is sha256:<hex>.
"""

import hashlib
import json
import os
import pathlib
import sys


def opener(store):
    """A function from an object's name to its bytes; None when there is no such object."""
    if not store.startswith("s3://"):
        root = pathlib.Path(store)
        return lambda name: (root / name).read_bytes() if (root / name).is_file() else None
    import boto3

    bucket, _, prefix = store[5:].partition("/")
    # boto3 reads this variable by itself only since 1.28.
    s3 = boto3.client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3"))

    def get(name):
        try:
            key = f"{prefix.rstrip('/')}/{name}".lstrip("/")
            return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None

    return get


def pieces(get, sha256):
    """The parts of a file: its blob, or what its newest layout names."""
    blob = get(f"blobs/sha256/{sha256[:2]}/{sha256}")
    if blob is not None:
        yield blob
        return
    generation, text = 0, None
    while (newer := get(f"layouts/{sha256[:2]}/{sha256}/{generation + 1}")) is not None:
        generation, text = generation + 1, newer
    layout = json.loads(text)
    packs = {}
    for number, offset, length, _ in layout["pieces"]:
        name = layout["packs"][number][0]
        packs[name] = packs.get(name) or get(f"packs/{name[:2]}/{name}")
        yield packs[name][offset : offset + length]


def main(store, digest, folder):
    get = opener(store)
    hexes = digest.removeprefix("sha256:")
    for file in json.loads(get(f"artifacts/{hexes[:2]}/{hexes}"))["files"]:
        path, actual = pathlib.Path(folder, file["path"]), hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            for piece in pieces(get, file["sha256"]):
                actual.update(piece)
                out.write(piece)
        assert actual.hexdigest() == file["sha256"], f"{path}: wrong bytes"


if __name__ == "__main__":
    main(*sys.argv[1:])
