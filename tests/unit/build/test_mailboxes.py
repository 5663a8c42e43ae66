"""Mailboxes as lists, git, b4 and mail programs make them: the sender's patches, or a fault."""

import gzip
import subprocess

import pytest

from harness.build import mail as mail_module
from harness.build.mailbox import RawMail
from harness.build.patch_folder import load_patches
from harness.build.series import group_mails, kernel_name, load_mailbox
from harness.errors import InputError
from harness.process import SubprocessRunner

RUNNER = SubprocessRunner()
ANN, BOB = "Ann <ann@a.example>", "Bob <bob@b.example>"
LORE = "From mboxrd@z Thu Jan  1 00:00:00 1970\n"
PREPARED = "From 1234567890123456789012345678901234567890 Mon Sep 17 00:00:00 2001\n"


def diff(value):
    return (
        "---\n\ndiff --git a/mm/vmalloc.c b/mm/vmalloc.c\n--- a/mm/vmalloc.c\n+++ b/mm/vmalloc.c\n"
        f"@@ -1,3 +1,3 @@\n int x(void)\n {{\n-\treturn 0;\n+\treturn {value};\n"
    )


class Box:
    """Mails in the order in which they are added, a minute apart."""

    def __init__(self):
        self.mails = []

    def add(self, subject, value=None, answers=(), sender=ANN, text="", number=None, more=""):
        number = len(self.mails) + 1 if number is None else number
        body = f"{text}\n" + (diff(value) if value is not None else "")
        parents = [answers] if isinstance(answers, str) else list(answers)
        head = f"From: {sender}\nSubject: {subject}\nMessage-ID: <{number}@x>\n"
        hour, minute = divmod(len(self.mails), 60)
        head += f"Date: Tue, 02 Jan 2024 {hour:02}:{minute:02}:00 +0000\n"
        if parents:
            head += f"In-Reply-To: <{parents[-1]}>\nReferences: "
            head += " ".join(f"<{parent}>" for parent in parents) + "\n"
        self.mails.append(f"{head}{more}\n{body}".encode())
        return f"{number}@x"

    def series_of(self, count, title, value, version="", answers=(), sender=ANN, cover=True):
        """Add a series as git send-email threads it; return the id of its first mail."""
        root = (
            self.add(f"[PATCH{version} 0/{count}] {title}", None, answers, sender) if cover else ""
        )
        for number in range(1, count + 1):
            parents = [
                *([answers] if isinstance(answers, str) else answers),
                *([root] if root else []),
            ]
            subject = f"[PATCH{version} {number}/{count}] {title} {number}"
            here = self.add(subject, value + number, parents, sender)
            root = root or here
        return root

    def read(self, prepared=False):
        return group_mails([RawMail(content, prepared) for content in self.mails], RUNNER)


@pytest.fixture
def box():
    return Box()


def contents(series):
    """The titles and the values that the patches of a series set."""
    values = [
        patch.mail.rpartition(b"+\treturn ")[2].partition(b";")[0] for patch in series.patches
    ]
    return [patch.title for patch in series.patches], [int(value) for value in values]


def test_a_lone_patch_in_the_thread_replaces_nothing(box):
    cover = box.series_of(2, "T", 10)
    box.add("[PATCH] mm: fixup", 99, cover)
    series, fixup = box.read().series
    assert contents(series) == (["T 1", "T 2"], [11, 12])
    assert contents(fixup) == (["mm: fixup"], [99])
    assert kernel_name(series) != kernel_name(fixup)


def test_a_cover_with_a_diff_is_no_patch(box):
    cover = box.add("[PATCH v2 0/1] T", 77, text="Interdiff:")
    box.add("[PATCH v2 1/1] One", 1, cover)
    (series,) = box.read().series
    assert contents(series) == (["One"], [1])


@pytest.mark.parametrize(
    "form", ["PATCHv2 {}", "PATCH v2, {}", "PATCHv2{}", "RFC PATCH-v2 {}", "v2 PATCH {}"]
)
def test_glued_subjects_are_read(box, form):
    if form == "PATCHv2{}":
        form = "PATCH{} v2"
    for number in (2, 1):
        box.add(f"[{form.format(f'{number}/2')}] P {number}", number)
    (series,) = box.read().series
    assert (contents(series), series.version) == ((["P 1", "P 2"], [1, 2]), 2)


def test_two_series_without_threads_are_two(box):
    for title, value in (("A", 10), ("B", 20)):
        for number in (1, 2):
            box.add(f"[PATCH {number}/2] {title} {number}", value + number)
    assert [contents(one) for one in box.read().series] == [
        (["A 1", "A 2"], [11, 12]),
        (["B 1", "B 2"], [21, 22]),
    ]


def test_two_series_without_threads_that_overlap_are_a_fault(box):
    for number, title in ((1, "A"), (1, "B"), (2, "A"), (2, "B")):
        box.add(f"[PATCH {number}/2] {title}", number)
    (series,) = box.read().series
    assert "cannot be assigned" in series.fault
    assert series.patches == ()


def test_git_send_emails_message_ids_tell_series_apart(box):
    for number, title in ((1, "A"), (1, "B"), (2, "A"), (2, "B")):
        stamp = {"A": "20240102184633.748113", "B": "20240102184634.748119"}[title]
        box.add(f"[PATCH {number}/2] {title} {number}", number, number=f"{stamp}-{number}-a")
    assert [contents(one)[0] for one in box.read().series] == [["A 1", "A 2"], ["B 1", "B 2"]]


def test_the_authors_second_series_in_the_thread_is_another_one(box):
    first = box.series_of(2, "A", 10)
    box.series_of(2, "B", 20, answers=first)
    one, two = box.read().series
    assert contents(one) == (["A 1", "A 2"], [11, 12])
    assert contents(two) == (["B 1", "B 2"], [21, 22])
    assert kernel_name(one) != kernel_name(two)


def test_a_version_on_the_cover_counts_for_its_patches(box):
    first = box.series_of(2, "A", 10)
    cover = box.add("[PATCH v2 0/2] A", None, first)
    for number in (1, 2):
        box.add(f"[PATCH {number}/2] A {number}", 20 + number, [first, cover])
    found = box.read()
    (series,) = found.series
    assert (contents(series), series.version) == ((["A 1", "A 2"], [21, 22]), 2)
    assert found.superseded == ("v1 of 'A'",)


def test_a_cover_alone_is_not_silently_an_older_version(box):
    first = box.series_of(2, "A", 10)
    box.add("[PATCH v3 0/2] A", None, first)
    (series,) = box.read().series
    assert series.fault == "only the cover of v3 is here; the newest whole version here is v1"
    assert series.patches == ()


def test_another_senders_version_is_another_series(box):
    first = box.series_of(2, "A", 10)
    box.series_of(2, "A", 70, " v7", first, sender=BOB)
    anns, bobs = box.read().series
    assert (contents(anns)[1], contents(bobs)[1]) == ([11, 12], [71, 72])
    assert (anns.version, bobs.version) == (1, 7)
    assert kernel_name(anns) != kernel_name(bobs)
    assert not anns.members & bobs.members


def test_a_stranger_replaces_no_patch_of_a_series(box):
    cover = box.series_of(2, "A", 10)
    box.add("[PATCH 1/2] A 1", 66, cover, sender=BOB)
    anns, bobs = box.read().series
    assert contents(anns)[1] == [11, 12]
    assert bobs.fault == "patch 2 of 2 is missing"


def test_two_mails_of_one_number_are_a_fault(box):
    cover = box.series_of(2, "A", 10)
    box.add("[PATCH 1/2] Something else", 66, cover)
    (series,) = box.read().series
    assert series.fault == "two mails are number 1 of 2: 'A 1' and 'Something else'"


def test_two_authors_of_format_patch_are_one_series(box):
    one = box.add("[PATCH 1/2] By Ann", 1)
    box.add("[PATCH 2/2] By Bob", 2, one, sender=BOB)
    (series,) = box.read(prepared=True).series
    assert contents(series) == (["By Ann", "By Bob"], [1, 2])
    assert b"\nFrom: Bob <bob@b.example>\n" in series.patches[1].mail
    assert len(box.read(prepared=False).series) == 2  # sent by two people


def test_a_name_stays_for_the_next_version_and_without_the_old_one(box):
    first = box.series_of(1, "A", 10)
    (old,) = box.read().series
    box.series_of(1, "A, now with a new title", 20, " v2", first)
    (new,) = box.read().series
    box.mails = box.mails[2:]
    (alone,) = box.read().series
    assert kernel_name(old) == kernel_name(new) == kernel_name(alone)
    assert contents(new)[1] == contents(alone)[1] == [21]


def test_a_change_id_is_an_identity_across_threads(box):
    for version, value in (("", 1), (" v2", 2)):
        text = "Why.\n\nchange-id: 20240102-topic-0123456789ab"
        cover = box.add(f"[PATCH{version} 0/1] T{version}", None, text=text)
        box.add(f"[PATCH{version} 1/1] P", value, cover)
    (series,) = box.read().series
    assert (series.version, series.key) == (2, "ann@a.example 20240102-topic-0123456789ab")


def test_a_resend_without_a_thread_takes_the_old_ones_place(box):
    box.series_of(2, "A", 10)
    box.series_of(2, "A", 20, " RESEND")
    (series,) = box.read().series
    assert contents(series)[1] == [21, 22]


@pytest.mark.parametrize(
    "subject",
    ["Re: [PATCH 1/1] P", "AW: [PATCH 1/1] P", "Antw: Re: [PATCH 1/1] P", "回复:[PATCH 1/1] P"],
)
def test_replies_of_any_language_are_replies(box, subject):
    patch = box.add("[PATCH 1/1] P", 1)
    box.add(subject, None, patch, sender=BOB, text="> +\treturn 1;\n\nGood.")
    found = box.read()
    assert (len(found.series), found.replies, found.odd) == (1, 1, ())


def test_every_mail_is_accounted_for(box):
    cover = box.series_of(1, "A", 10)
    box.add("[PATCH v2 1/1] A 1", 20, cover)
    box.add("Re: [PATCH 1/1] A 1", None, cover, text="Good.")
    box.add("What about this", None, cover, text="An idea.")
    box.add("Re: [PATCH 1/1] A 1", 66, cover, text="Rather so:")
    box.add("Lunch?", None, text="At noon.")
    found = box.read()
    assert (len(found.series), found.superseded, found.replies) == (1, ("v1 of 'A'",), 3)
    assert found.odd == (
        "'Re: [PATCH 1/1] A 1': a patch in a reply",
        "'Lunch?': neither a patch nor a cover nor a reply",
    )


def test_a_mail_that_b4_gives_up_is_not_understood_with_its_subject(box, monkeypatch):
    b4 = mail_module._b4()

    class Exits(b4.LoreMessage):
        def __init__(self, message):
            if "bad" in message["Subject"]:
                raise SystemExit(128)
            super().__init__(message)

    monkeypatch.setattr(b4, "LoreMessage", Exits)
    box.add("[PATCH] bad", 1)
    box.add("[PATCH] good", 2)
    found = box.read()
    assert [one.title for one in found.series] == ["good"]
    assert found.odd == ("'[PATCH] bad': SystemExit: 128",)


@pytest.mark.parametrize(
    ("said", "base"),
    [
        ("base-commit: " + "ab" * 20, "ab" * 20),
        ("base-commit: abcdef1", "abcdef1"),
        ("base-commit: v6.12 (" + "ab" * 20 + ")", "ab" * 20),
        ("base-commit: v6.12-rc3", "v6.12-rc3"),
        ("base-commit: none", ""),
        ("my base-commit: abcdef1", ""),
    ],
)
def test_the_base_commit_is_read_in_all_its_forms(box, said, base):
    cover = box.add(
        "[PATCH 0/1] T", None, text=f"Why.\n\n{said}\nprerequisite-patch-id: {'cd' * 20}"
    )
    box.add("[PATCH 1/1] P", 1, cover)
    (series,) = box.read().series
    assert series.base_commit.strip() == base
    assert series.prerequisites == ("cd" * 20,)


def test_a_base_below_the_diff_is_found(box):
    box.mails.append(
        f"From: {ANN}\nSubject: [PATCH] P\nMessage-ID: <1@x>\n\nWhy.\n{diff(1)}\n"
        f"base-commit: {'ab' * 20}\n--\n2.39.5\n".encode()
    )
    (series,) = box.read().series
    assert series.base_commit == "ab" * 20


def test_attached_and_flowed_patches_are_read_as_git_reads_them(box):
    flowed = diff(5).replace("\n int x", "\n  int x").replace("\n {", "\n  {")
    box.mails.append(
        f"From: {ANN}\nSubject: [PATCH] Flowed\nMessage-ID: <1@x>\nMIME-Version: 1.0\n"
        f"Content-Type: text/plain; charset=utf-8; format=flowed\n\nWhy.\n{flowed}".encode()
    )
    part = f"{PREPARED}From: {BOB}\nSubject: [PATCH] In\n\nWhy.\n{diff(6)}"
    box.mails.append(
        f"From: {ANN}\nSubject: [PATCH] Attached\nMessage-ID: <2@x>\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\nBelow.\n'
        f"--b\nContent-Type: text/x-patch\n\n{part}\n--b--\n".encode()
    )
    flat, attached = box.read().series
    assert (contents(flat)[1], contents(attached)[1]) == ([5], [6])
    assert b"\n int x(void)\n {\n" in flat.patches[0].mail


def written(path, box, separator=LORE):
    path.write_bytes(b"".join(separator.encode() + mail + b"\n" for mail in box.mails))
    return path


def test_a_compressed_mailbox_is_read(tmp_path, box):
    box.series_of(2, "A", 10)
    path = written(tmp_path / "t.mbox", box)
    packed = tmp_path / "t.mbox.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load_mailbox(packed, RUNNER) == load_mailbox(path, RUNNER)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged gzip"):
        load_mailbox(packed, RUNNER)


def test_what_is_no_mailbox_is_said(tmp_path):
    (tmp_path / "notes").write_text("Not a mailbox.\n")
    with pytest.raises(InputError, match=r"notes is not a mailbox.*\n  next: "):
        load_mailbox(tmp_path / "notes", RUNNER)
    with pytest.raises(InputError, match="gone does not exist"):
        load_mailbox(tmp_path / "gone", RUNNER)
    (tmp_path / "empty").touch()
    assert load_mailbox(tmp_path / "empty", RUNNER).series == ()


def test_quoted_from_lines_are_gits_business(tmp_path):
    text = f"From: {ANN}\nSubject: [PATCH] P\n\n>{PREPARED}From: {BOB}\n\nWhy.\n{diff(1)}"
    (tmp_path / "box").write_text(f"{LORE}{text}\n")
    (series,) = load_mailbox(tmp_path / "box", RUNNER).series
    assert contents(series) == (["P"], [1])


@pytest.mark.parametrize("thread", [True, False])
def test_git_and_this_agree_on_the_mails_of_format_patch(tmp_path, thread):
    """git am's commits of a mailbox are the patches of its series."""

    def git(*words):
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@a.example"]
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, check=True)
        return done.stdout

    git("init", "-qb", "main", ".")
    (tmp_path / "f").write_bytes(b"one\r\ntwo\n\x0c\n")
    git("add", "f")
    git("commit", "-qm", "base")
    subjects = ["mm: f\u00fcr [x] y", "Re: not a reply", "v2: 1/3 of it", "From here on"]
    for number, subject in enumerate(subjects):
        (tmp_path / "f").write_bytes(b"one\r\ntwo\n\x0c\n" + b"%d\n" % number)
        git("commit", "-qam", subject, "--author", f"P{number} <p{number}@x.example>")
    form = ["format-patch", "--stdout", "--cover-letter", *(["--thread"] if thread else [])]
    (tmp_path / "box").write_bytes(git(*form, "main~4"))
    (series,) = load_mailbox(tmp_path / "box", RUNNER).series
    git("reset", "-q", "--hard", "main~4")
    for patch in series.patches:
        (tmp_path / "mail").write_bytes(patch.mail)
        git("am", "-q", "--keep-cr", "mail")
    assert (tmp_path / "f").read_bytes() == b"one\r\ntwo\n\x0c\n3\n"
    authors = git("log", "--format=%an", "main~4..main").decode().split()
    assert authors == ["P3", "P2", "P1", "P0"]


def test_covers_of_any_version_and_numbers_of_any_length(tmp_path):
    def mail(subject, text):
        return f"{PREPARED}From: {ANN}\nSubject: {subject}\n\nWhy.\n{text}"

    base = f"base-commit: {'ab' * 20}\n"
    (tmp_path / "v2-0000-cover-letter.patch").write_text(mail("[PATCH v2 0/2] T", base))
    (tmp_path / "v2-0001-a.patch").write_text(mail("[PATCH v2 1/2] A", diff(1)))
    series = load_patches(tmp_path, RUNNER)
    assert (series.title, series.version, series.base_commit) == ("T", 2, "ab" * 20)
    assert contents(series) == (["A"], [1])
    (tmp_path / "0001-old.patch").write_text(diff(3))
    (tmp_path / "v1-0001-old.patch").write_text(diff(3))
    with pytest.raises(InputError, match="holds versions 1, 2"):
        load_patches(tmp_path, RUNNER)
    for path in tmp_path.iterdir():
        path.unlink()
    for name in ("10-x.patch", "2-x.patch", "1-x.diff"):
        (tmp_path / name).write_text(diff(1))
    assert [patch.name for patch in load_patches(tmp_path, RUNNER).patches] == [
        *("1-x.diff", "2-x.patch", "10-x.patch")
    ]
    with pytest.raises(InputError, match="none does not exist"):
        load_patches(tmp_path / "none", RUNNER)


def test_many_mails_are_grouped_in_time_that_grows_with_their_number(box):
    """Also a thread in which each of 3,000 mails answers all before it, in a ring."""
    count = 3000
    for number in range(count):
        parents = [f"{n}@x" for n in range(max(0, number - 40), number)] or [f"{count - 1}@x"]
        box.add(f"Re: [PATCH {number % 3}/3] P", None, parents, number=number)
    for number in (1, 2):
        box.add(f"[PATCH {number}/2] Ring", number, f"ring{3 - number}@x", number=f"ring{number}")
    found = box.read()
    assert found.replies == count
    assert len(found.series) == 1


@pytest.mark.parametrize(
    "text", ["Reviewed-by: " + "<" * 65536, "Reviewed-by:\n" * 5000, "\n" * 65536, "a: " * 20000]
)
def test_b4_sees_nothing_on_which_its_patterns_take_long(box, text, monkeypatch):
    b4 = mail_module._b4()
    seen = []

    class Notes(b4.LoreMessage):
        def __init__(self, message):
            seen.append(message.get_payload(decode=True))
            super().__init__(message)

    monkeypatch.setattr(b4, "LoreMessage", Notes)
    box.add("a: " * 100 + "[PATCH", None, "0@x", text=text)
    box.add("[PATCH] P", 1, text=text)
    assert len(box.read().series) == 1
    assert max(map(len, seen)) < 100


def test_b4_runs_no_program_and_reads_no_configuration(box, monkeypatch):
    """A signature that gives a length would have b4 run git mailinfo on the whole mail."""
    box.add("[PATCH] P", 1, more="X-Developer-Signature: v=1; l=10; h=from:subject\n")
    (raw,) = box.mails
    monkeypatch.setenv("PATH", "/nonexistent")
    assert mail_module.read_mail(RawMail(raw)).title == "P"
