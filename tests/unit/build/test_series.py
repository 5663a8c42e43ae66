"""What people send, and what somebody might send who means harm."""

import base64
import email
import string
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.build.mailbox import RawMail, split_mbox
from harness.build.patch_folder import load_patches
from harness.build.series import group_mails, load_mailbox
from harness.errors import InputError
from harness.process import SubprocessRunner
from harness.text import one_line

DIFF = """\
---
 mm/vmalloc.c | 2 +-

diff --git a/mm/vmalloc.c b/mm/vmalloc.c
--- a/mm/vmalloc.c
+++ b/mm/vmalloc.c
@@ -1,5 +1,5 @@
 /* a stand-in */
 int vmalloc_value(void)
 {
-\treturn 1;
+\treturn 2;
 }
--
2.39.5
"""
FROM = "From mboxrd@z Thu Jan  1 00:00:00 1970\n"


def mail(subject, body="Why.\n" + DIFF, number=1, answers="", sender="A B <a@b.example>"):
    headers = [
        f"From: {sender}",
        f"Subject: {subject}",
        f"Date: Tue, 02 Jan 2024 19:46:{number:02} +0100",
        f"Message-ID: <{number}@b.example>",
        *([f"In-Reply-To: <{answers}>", f"References: <{answers}>"] if answers else []),
    ]
    return "\n".join(headers) + "\n\n" + body


RUNNER = SubprocessRunner()


def group(*mails):
    """The series among mails that were sent."""
    raw = [RawMail(mail if isinstance(mail, bytes) else mail.encode()) for mail in mails]
    return group_mails(raw, RUNNER).series


def mbox(tmp_path, *mails):
    file = tmp_path / "box"
    file.write_text("".join(FROM + text + "\n" for text in mails), encoding="utf-8")
    return file


THREAD = (
    mail("[PATCH v3 0/2] Mitigate", "Cover.\n\nbase-commit: " + "ab" * 20 + "\n", 10),
    mail("[PATCH v3 2/2] mm: Second", number=12, answers="10@b.example"),
    mail("[PATCH v3 1/2] mm: First", number=11, answers="10@b.example"),
    mail("Re: [PATCH v3 1/2] mm: First", "> " + DIFF.replace("\n", "\n> "), 13, "10@b.example"),
)


def test_a_thread_is_one_series_in_the_order_of_its_numbers(tmp_path):
    (series,) = group(*THREAD)
    assert [(p.name, p.title) for p in series.patches] == [
        ("1/2", "mm: First"),
        ("2/2", "mm: Second"),
    ]
    assert (series.title, series.version, series.fault) == ("Mitigate", 3, "")
    assert series.base_commit == "ab" * 20
    assert (series.message_id, series.key) == ("10@b.example", "a@b.example 10@b.example")


def test_of_two_versions_in_a_thread_the_newer_one_counts(tmp_path):
    newer = mail("[PATCH v4 1/1] mm: Only", number=20, answers="10@b.example")
    (series,) = group(*THREAD, newer)
    assert (series.version, [p.title for p in series.patches]) == (4, ["mm: Only"])
    assert series.key == "a@b.example 10@b.example"  # the same series still


def test_somebody_elses_patch_in_the_thread_is_another_series(tmp_path):
    other = mail("[PATCH 1/1] mm: Mine", number=20, answers="10@b.example", sender="c@d.example")
    assert len(group(*THREAD, other)) == 2


def test_a_hole_in_a_series_is_its_fault(tmp_path):
    (series,) = group(*THREAD[:2])
    assert series.fault == "patch 1 of 2 is missing"


def test_patches_without_a_thread_are_put_together(tmp_path):
    mails = [mail(f"[PATCH {n}/2] mm: {n}", number=n) for n in (1, 2)]
    (series,) = group(*mails)
    assert [p.name for p in series.patches] == ["1/2", "2/2"]


def test_a_lone_patch_is_a_series(tmp_path):
    (series,) = group(mail("[PATCH] mm: Alone"))
    assert [p.title for p in series.patches] == ["mm: Alone"]
    assert group(mail("Lunch?", "No patch.\n")) == ()


def test_from_lines_in_a_body_do_not_end_a_mail():
    text = (FROM + mail("[PATCH] x", "Why.\n>From here on\nFrom now on\n" + DIFF) + "\n").encode()
    (one,) = split_mbox(text * 1)
    assert b"\n>From here on\nFrom now on\n" in one.content
    assert len(list(split_mbox(text * 3))) == 3


def test_a_maildir_is_only_read(tmp_path):
    for part in ("cur", "new", "tmp"):
        (tmp_path / part).mkdir()
    (tmp_path / "new/1.host").write_text(mail("[PATCH] mm: New"))
    (tmp_path / "cur/2.host:2,S").write_text(mail("[PATCH] mm: Seen", number=2))
    (tmp_path / "tmp/3.host").write_text(mail("[PATCH] mm: Half", number=3))
    titles = {series.title for series in load_mailbox(tmp_path, RUNNER).series}
    assert titles == {"mm: New", "mm: Seen"}
    assert (tmp_path / "new/1.host").exists()
    with pytest.raises(InputError, match="is not a maildir"):
        load_mailbox(tmp_path / "tmp", RUNNER)


def wrapped(part):
    whole = MIMEMultipart()
    whole["From"], whole["Subject"], whole["Message-ID"] = "a@b.example", "[PATCH] x", "<1@b>"
    whole.attach(MIMEText("See attachment."))
    whole.attach(part)
    return whole.as_bytes()


@pytest.mark.parametrize(
    "part",
    [
        MIMEText(DIFF, "x-patch"),
        MIMEText(DIFF, "plain", "utf-8"),
        MIMEApplication(DIFF.encode(), "octet-stream", name="../../evil.patch"),
    ],
)
def test_a_patch_in_an_attachment_is_found(part):
    (series,) = group(wrapped(part))
    assert b"\n-\treturn 1;\n+\treturn 2;\n" in series.patches[0].mail
    assert b"base64" not in series.patches[0].mail


def test_a_diff_keeps_its_bytes_and_the_words_become_utf_8():
    head = (
        b"From: a@b.example\nSubject: [PATCH] x\nContent-Type: text/plain; charset=iso-8859-1\n\n"
    )
    (series,) = group(head + b"f\xfcr\n" + DIFF.encode() + b"+\xfc\n")
    assert "\nfür\n".encode() in series.patches[0].mail
    assert b"+\xfc\n" in series.patches[0].mail


def test_mail_whose_every_line_ends_with_cr_lf_is_unwrapped():
    text = mail("[PATCH] x").replace("\n", "\r\n").encode()
    (series,) = group(text)
    assert b"\r" not in series.patches[0].mail


def encoded(text):
    return "=?utf-8?b?" + base64.b64encode(text.encode()).decode() + "?="


@pytest.mark.parametrize(
    "subject",
    [
        encoded("[PATCH] x\nX-Evil: 1\n\n"),
        encoded("[PATCH] \u202edesrever \x1b[31m"),
        "[PATCH] =?no-such-charset?q?x?=",
        "[PATCH] =?utf-8?b?!!!?=",
        "[PATCH] " + "x" * 100_000,
        "[PATCH ../../1/1] ; rm -rf ~ $(id) `id` %s",
        "",
    ],
)
def test_a_hostile_subject_stays_one_printable_line(subject):
    (series,) = group(mail(subject))
    assert series.title == one_line(series.title, 200)
    assert len(series.title) <= 200
    plain = email.message_from_bytes(series.patches[0].mail)
    assert set(plain.keys()) == {
        *("From", "Date", "Subject", "MIME-Version"),
        *("Content-Type", "Content-Transfer-Encoding"),
    }


def test_a_hostile_sender_and_date_become_harmless():
    text = mail("[PATCH] x", sender=encoded("E\nvil <") + " <a b@c>").encode()
    text = text.replace(b"Tue, 02 Jan 2024", b"Tue, 99 Foo 99999")
    (series,) = group(text)
    plain = email.message_from_bytes(series.patches[0].mail)
    assert plain["From"].endswith("<unknown@invalid>") or "\n" not in plain["From"]
    assert "1970" in plain["Date"]


_HEADERS = st.text(string.printable + "äß\u202e=?_", max_size=60)


@given(subject=_HEADERS, sender=_HEADERS, date=_HEADERS, body=st.binary(max_size=300))
@example(subject="=?utf-8?q?=ff?=", sender="<>", date="Mon, 1 Jan 0000 00:00:00", body=b"")
def test_no_mail_breaks_the_parser(subject, sender, date, body):
    head = f"From: {sender}\nSubject: {subject}\nDate: {date}\n\n".encode("utf-8", "replace")
    for series in group(head + body + b"\n" + DIFF.encode(), body):
        assert all(patch.mail.startswith(b"From 000") for patch in series.patches)


@given(st.binary(max_size=2000))
def test_no_mailbox_breaks_the_parser(content):
    group_mails(split_mbox(content), RUNNER)


def folder(tmp_path, series=None, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.patch").write_text(text)
    if series is not None:
        (tmp_path / "series").write_text(series)
    return tmp_path


def test_patches_of_a_folder_come_in_the_order_of_their_names(tmp_path):
    files = {
        "0000-cover": mail("[PATCH 0/2] c", "no diff"),
        "0002-b": DIFF,
        "0001-a": mail("[PATCH] a"),
    }
    series = load_patches(folder(tmp_path, **files), RUNNER)
    assert [(p.name, p.title) for p in series.patches] == [
        ("0001-a.patch", "a"),
        ("0002-b.patch", "0002-b.patch"),
    ]


def test_quilts_series_gives_order_and_strip_level(tmp_path):
    text = "# comment\nb.patch -p0 # why\n\na.patch\n"
    series = load_patches(folder(tmp_path, text, a=DIFF, b=DIFF, unused=DIFF), RUNNER)
    assert [(p.name, p.strip) for p in series.patches] == [("b.patch", 0), ("a.patch", 1)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("../evil.patch\n", "is outside of the folder"),
        ("/etc/passwd\n", "is outside of the folder"),
        ("gone.patch\n", "gone.patch does not exist"),
        ("a.patch -R\n", "series:1: a.patch: found the option -R"),
        ("empty.patch\n", "contains no diff"),
        ("# nothing\n", "found no patch"),
    ],
)
def test_faults_of_a_folder_are_named(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        load_patches(folder(tmp_path, text, a=DIFF, empty="nothing\n"), RUNNER)
