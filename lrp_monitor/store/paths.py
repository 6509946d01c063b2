"""Paths of folders: of the file system, or URLs (``s3://bucket/runs``) of an object store."""

from __future__ import annotations

import os
import re

from lrp_monitor.store.format import StoreError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
# What pathlib.Path makes of a URL. Only schemes that are in use: a folder may well be called "a:".
_HALF_URL = re.compile(r"(s3a?|gs|gcs|az|abfss?|adl|oci|oss|hdfs|webhdfs|https?|ftp|sftp|memory|file):/(?!/)")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path has a scheme."""
    return _URL.match(os.fspath(path)) is not None


def join(folder: str | os.PathLike[str], *parts: str) -> str:
    """A path below a folder, with the folder's kind of separator."""
    text = os.fspath(folder)
    if not is_url(text):
        return os.path.join(text, *parts)
    scheme, _, rest = text.partition("://")
    return "/".join([f"{scheme}://{rest.rstrip('/')}", *parts])


def local_path(path: str | os.PathLike[str]) -> str | None:
    """The path where it is one of the file system (``file://`` counts), None for another URL.

    Raises:
        StoreError: for a URL that lost a slash on its way through a ``pathlib.Path``.
    """
    text = os.fspath(path)
    if _HALF_URL.match(text):
        raise StoreError(f"{text}: one slash of the URL is gone, as in a pathlib.Path; give the URL as text")
    if not is_url(text):
        return text
    scheme, _, rest = text.partition("://")
    return rest if scheme.lower() in ("file", "local") else None


def checked_url(url: str) -> str:
    """A URL without slashes at its end. Raises StoreError where a part of it is no plain name, or it is chained."""
    scheme, _, rest = url.partition("://")
    first, *parts = rest.rstrip("/").split("/")
    if "::" in url:
        raise StoreError(f"{url}: chained URLs (a::b) are not supported; give the store's own")
    if any(part in ("", ".", "..") for part in (first, *parts)):
        raise StoreError(f"{url}: holds an empty part, '.' or '..'; write out the bucket and the folders in it")
    return f"{scheme}://{rest.rstrip('/')}"


def is_below(url: str, folder: str) -> bool:
    """Whether a URL is that of a folder, or lies below it. Raises StoreError as `checked_url` does."""
    if not is_url(folder):
        return False
    url, folder = checked_url(url), checked_url(folder)
    return url == folder or url.startswith(f"{folder}/")
