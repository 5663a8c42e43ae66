"""Folders of patches, in the order of quilt's file `series` or of their names."""

import re
from pathlib import Path

from harness.build.mail import DIFF, Mail, NotUnderstoodError, mail_of, plain_mail, read_mail
from harness.build.mail import series_facts as facts_of
from harness.build.mailbox import RawMail, read_bounded
from harness.build.series import Patch, PatchSeries
from harness.errors import InputError
from harness.process import Runner
from harness.text import one_line

_IS_MAIL = re.compile(rb"(?i)(?:from|subject|date|message-id)[ :]")
_VERSION = re.compile(r"v(\d{1,3})-\d{4}-")  # as git format-patch -v names files


def load_patches(folder: Path, runner: Runner) -> PatchSeries:
    """Return the patches of a folder, with the base-commit of its cover letter if there is one.

    Raises InputError if a patch is missing, outside of the folder, or has no diff.
    """
    if not folder.exists():
        raise InputError(f"{folder} does not exist")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of patches\n  next: name a mailbox with `mbox`")
    quilt = (folder / "series").is_file()
    listed = _quilt_entries(folder) if quilt else _sorted_entries(folder)
    patches: list[Patch] = []
    mails: list[Mail] = []
    for name, strip in listed:
        content = read_bounded(_inside(folder, name))
        mail = _mail_of_file(folder / name, content)
        mails += [mail] if mail else []
        if mail and mail.number == 0 and not quilt:
            continue
        if not (mail.has_diff if mail else DIFF.search(content)):
            raise InputError(f"{folder / name}: contains no diff")
        title = mail.title if mail else one_line(name, 200)
        patches.append(Patch(name, title, _plain(mail, title, content, runner), strip))
    if not patches:
        raise InputError(f"{folder}: found no patch; expected a file series, or *.patch and *.diff")
    cover = next((mail for mail in mails if mail.number == 0), None)
    first = cover or next(iter(mails), None)
    facts = [facts_of([mail], 1, mail.total) for mail in mails]
    return PatchSeries(
        key=str(folder.absolute()),
        title=first.title if first else patches[0].title,
        author=first.author if first else "Unknown <unknown@invalid>",
        patches=tuple(patches),
        version=(first.version if first else None) or 1,
        base_commit=next((fact.base_commit for fact in facts if fact.base_commit), ""),
        prerequisites=tuple(i for fact in facts for i in fact.prerequisites),
    )


def _mail_of_file(path: Path, content: bytes) -> Mail | None:
    """Return a patch file as a mail, None for a bare diff such as quilt's."""
    if not _IS_MAIL.match(content):
        return None
    try:
        return read_mail(RawMail(re.sub(rb"\AFrom [^\n]*\n", b"", content), prepared=True))
    except NotUnderstoodError as error:
        raise InputError(f"{path}: {error}") from error


def _plain(mail: Mail | None, title: str, content: bytes, runner: Runner) -> bytes:
    if mail is not None:
        return plain_mail(mail.raw, runner)
    text = content
    if text.count(b"\n") == text.count(b"\r\n"):
        text = text.replace(b"\r\n", b"\n")
    return mail_of("Unknown <unknown@invalid>", "", title, text)


def _sorted_entries(folder: Path) -> list[tuple[str, int]]:
    names = [path.name for path in folder.iterdir() if path.suffix in (".patch", ".diff")]
    versions = sorted({found[1] for name in names if (found := _VERSION.match(name))}, key=int)
    if len(versions) > 1:
        raise InputError(
            f"{folder}: holds versions {', '.join(versions)} of a series; expected one\n"
            "  next: remove the older ones, or name the patches in a file `series`"
        )
    return [(name, 1) for name in sorted(names, key=_by_number)]


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts `2-x` before `10-x`."""
    parts = re.split(r"(\d+)", name)
    return [(int(part[:18]), part) if part.isdecimal() else (-1, part) for part in parts]


def _quilt_entries(folder: Path) -> list[tuple[str, int]]:
    """Return name and strip level of each line of `series`, as quilt reads it."""
    entries = []
    text = read_bounded(folder / "series").decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split("#")[0].split()
        if not parts:
            continue
        name, strip = parts[0], 1
        for word in parts[1:]:
            level = re.fullmatch(r"-p(ab|\d)", word)
            if not level:
                raise InputError(
                    f"{folder / 'series'}:{number}: {name}: found the option {word}; "
                    "expected at most -pN (reverse a reversed patch first)"
                )
            strip = 1 if level[1] == "ab" else int(level[1])
        entries.append((name, strip))
    return entries


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{folder / 'series'}: {one_line(name)} is outside of the folder")
    return path
