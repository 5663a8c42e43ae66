"""What is measured, and on what base: branches, folders and mailboxes of a real git."""

import re

import pytest

from harness.build.cache import Cache
from harness.nightly.candidates import Failed, Finder
from harness.nightly.deliver import missing_secrets
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec
from harness.spec.nightly import load_nightly


@pytest.fixture
def found(workplace):
    """What the baseline's nightly finds for one candidate: `find(**candidate)`."""

    def find(**candidate):
        spec = load_nightly(workplace.file([{"name": "it", **candidate}]))
        cache = Cache(workplace.folder / "cache")
        finder = Finder(spec, workplace.folder / "found", cache, SubprocessRunner())
        return finder.find(spec.candidates[0], load_kernel_spec("base", workplace.kernels))

    return find


def value(revision):
    """What the toy's vmalloc returns in a kernel that was found, by its last patch."""
    spec = load_kernel_spec(revision.kernel, revision.folder)
    values = re.findall(r"^\+\treturn (\d+);", (spec.folder / spec.patches[-1]).read_text(), re.M)
    return int(values[-1])


def queue(workplace, base, *words):
    """Write the last commit as a folder of patches that names `base`; go back to v1."""
    folder = workplace.folder / "queue"
    form = ["format-patch", "-q", "-o", str(folder), f"--base={base}", *words, "-1"]
    workplace.git(*form)
    return folder


def test_a_branch_comes_before_a_tag_of_its_name(workplace, found):
    workplace.git("checkout", "-qb", "topic")
    commit = workplace.commit(2)
    workplace.git("tag", "topic", "v1")
    (revision,) = found(branch="topic", git="linux")
    assert (revision.id, value(revision)) == (commit[:16], 2)


def test_a_branch_may_have_any_name_that_git_takes(workplace, found):
    name = "feature/vmalloc+rcu=1,x"
    workplace.git("checkout", "-qb", name)
    workplace.commit(2)
    (revision,) = found(branch=name, git="linux")
    assert value(revision) == 2


def test_the_covers_base_commit_is_the_base_of_a_folder(workplace, found):
    base = workplace.commit(5)
    workplace.commit(6)
    queue(workplace, base, "--cover-letter")
    (revision,) = found(patches="queue", git="linux")
    assert f"on {base[:16]}" in revision.title
    assert revision.baseline == "it-base"
    assert value(revision) == 6


@pytest.mark.parametrize("form", ["{short}", "v6.99 ({base})"])
def test_bases_in_other_forms_are_found(workplace, found, form):
    base = workplace.commit(5)
    workplace.commit(6)
    (file,) = queue(workplace, base).iterdir()
    said = form.format(short=base[:10], base=base)
    file.write_text(file.read_text().replace(f"base-commit: {base}", f"base-commit: {said}"))
    (revision,) = found(patches="queue", git="linux")
    assert revision.baseline == "it-base"


def test_a_base_commit_that_is_not_there_is_named(workplace, found):
    base = workplace.commit(5)
    workplace.commit(6)
    (file,) = queue(workplace, base).iterdir()
    file.write_text(file.read_text().replace(base, "ab" * 20))
    (failed,) = found(patches="queue", git="linux")
    assert f"base-commit {'ab' * 20}: " in failed.reason
    assert "has no commit" in failed.reason
    assert "next: fetch it into that repository" in failed.reason


def test_without_a_base_the_users_checkout_changes_nothing(workplace, found):
    workplace.git("checkout", "-qb", "topic")
    workplace.commit(2)
    workplace.git("format-patch", "-q", "-o", str(workplace.folder / "queue"), "-1")
    (on_topic,) = found(patches="queue", git="linux")
    workplace.git("checkout", "-q", "main")
    workplace.commit(9, "mm: Something else")
    (on_main,) = found(patches="queue", git="linux")
    assert on_topic == on_main
    assert (on_main.baseline, value(on_main)) == ("base", 2)


def test_prerequisite_patches_are_said_whether_the_series_applies_or_not(workplace, found):
    workplace.commit(2)
    (file,) = queue(workplace, "v1").iterdir()
    text = file.read_text()
    file.write_text(
        text.replace("base-commit:", f"prerequisite-patch-id: {'cd' * 20}\nbase-commit:")
    )
    (revision,) = found(patches="queue", git="linux")
    assert "without the 1 prerequisite patch that it names" in revision.title
    file.write_text(file.read_text().replace("-\treturn 1;", "-\treturn 7;"))
    (failed,) = found(patches="queue", git="linux")
    assert f"the series depends on other patches: {'cd' * 6}" in failed.reason


@pytest.mark.parametrize("kind", ["depth", "blanks", "worktree"])
def test_branches_of_clones_of_every_kind(workplace, found, kind):
    workplace.git("checkout", "-qb", "topic")
    workplace.commit(2)
    workplace.git("checkout", "-q", "main")
    place = workplace.folder / {"blanks": "my kernel: 6.12"}.get(kind, "clone")
    words = {
        "depth": [
            "clone",
            "-q",
            "--depth=1",
            "-b",
            "topic",
            f"file://{workplace.tree}",
            str(place),
        ],
        "blanks": ["clone", "-q", "-b", "topic", str(workplace.tree), str(place)],
        "worktree": ["worktree", "add", "-q", str(place), "topic"],
    }
    workplace.git(*words[kind])
    (revision,) = found(branch="topic", git=str(place))
    if kind != "depth":
        assert value(revision) == 2
    assert not isinstance(revision, Failed)


@pytest.mark.parametrize("said", ["git: /none/linux", "git: ./none", "git: file:///none"])
def test_a_repository_that_is_not_there_is_not_there(workplace, found, said):
    (failed,) = found(branch="main", git=said.partition(" ")[2])
    assert "does not exist; expected a git repository" in failed.reason
    assert "access rights" not in failed.reason


def mailed(workplace, *names):
    text = "".join(
        f"From x@y Thu Jan  1 00:00:00 1970\nFrom: {name} <{name}@x.example>\n"
        f"Subject: [PATCH] {name}\nMessage-ID: <{number}@x>\n\n---\n"
        f"diff --git a/{name}/f b/{name}/f\n--- a/{name}/f\n+++ b/{name}/f\n@@ -1 +1 @@\n-x\n+y\n\n"
        for number, name in enumerate(names)
    )
    (workplace.folder / "box").write_text(text)


def test_thirty_foreign_mails_are_one_notice_once(workplace):
    mailed(workplace, *(f"fs{number}" for number in range(30)))
    file = workplace.file([{"name": "inbox", "mbox": "box"}])
    workplace.night(file).run()
    assert workplace.titles == ["inbox: 30 series are not measured"]
    text = workplace.sent[0][0].text
    assert all(f"(fs{number})" in text for number in range(30))
    workplace.next_night()
    workplace.night(file).run()
    assert len(workplace.titles) == 1
    mailed(workplace, *(f"fs{number}" for number in range(31)))  # one more is news of its own
    workplace.next_night()
    workplace.night(file).run()
    assert len(workplace.titles) == 2
    assert "(fs30): " in workplace.titles[1]


def test_a_dry_run_accounts_for_every_mail_and_fails_where_nothing_is_found(workplace):
    (workplace.folder / "box").write_text(
        "From x@y Thu Jan  1 00:00:00 1970\nFrom: a@b.c\nSubject: Lunch?\n\nNoon.\n"
    )
    plan = workplace.night(workplace.file([{"name": "inbox", "mbox": "box"}])).plan()
    assert not plan.whole
    assert plan.lines[1:] == (
        "inbox: no series; not understood: 'Lunch?': neither a patch nor a cover nor a reply",
        "not measured: inbox: it has no series",
        "nothing to measure in this run",
    )


def test_subjects_with_odd_line_ends_are_one_line_each(workplace):
    for number in (1, 2):
        workplace.git("commit", "-q", "--allow-empty", "-m", "start" if number == 1 else "x")
    candidate = {"name": "topic", "branch": "main", "git": "linux", "commits": "each"}
    file = workplace.file([candidate])
    workplace.night(file).run()
    subjects = ["Merge x\r y", "form \x0c feed", "next \x85 line", "sep \u2028 arator"]
    ids = []
    for number, subject in enumerate(subjects, start=3):
        source = workplace.tree / "mm/vmalloc.c"
        source.write_text(source.read_text() + f"int odd_{number};\n")
        workplace.git("commit", "-qa", "--cleanup=verbatim", "-m", subject)
        ids.append(workplace.git("rev-parse", "HEAD")[:12])
    workplace.next_night()
    plan = workplace.night(file).plan()
    assert plan.whole
    assert [any(i in line for line in plan.lines) for i in ids] == [True] * 4


def test_the_example_of_the_documentation_runs_as_it_stands(repository, workplace, monkeypatch):
    """But for the network: of all its kinds but `message_id` there is one beside the file."""
    page = (repository / "docs/howto/nightly.md").read_text()
    (block,) = re.findall(r"## The file\n\n((?:    .*\n)+)", page)
    folder = workplace.folder / "lab/vmapbench"
    (folder / "nights").mkdir(parents=True)
    file = folder / "nights/mm.yaml"
    lines = [line[4:] for line in block.splitlines() if "message_id" not in line]
    file.write_text("\n".join(lines))
    (folder / "playbooks").symlink_to(repository / "playbooks")
    workplace.git("branch", "mm-unstable")
    workplace.commit(2)
    (workplace.folder / "lab/linux").symlink_to(workplace.tree)
    workplace.git("format-patch", "-q", "-o", str(folder / "queue"), "-1")
    mail = next((folder / "queue").iterdir()).read_text().partition("\n")[2]
    for box in ("new", "cur"):
        (workplace.folder / "home/Mail/vmalloc" / box).mkdir(parents=True)
    (workplace.folder / "home/Mail/vmalloc/new/1").write_text(mail)
    monkeypatch.setenv("HOME", str(workplace.folder / "home"))
    for name in ("vmap-nodes", "single-node"):
        (workplace.kernels / f"{name}.yaml").write_text(
            (workplace.kernels / "base.yaml").read_text()
        )
    plan = workplace.night(file).plan()
    assert plan.whole, plan.lines
    assert len(load_nightly(file).candidates) == 3
    assert missing_secrets(load_nightly(file).notices, {}) == [
        "mail through mail.lab.example: $VMAPBENCH_SMTP_PASSWORD is not set",
        "webhook: $HOOK_TOKEN is not set",
    ]
    given = {"VMAPBENCH_SMTP_PASSWORD": "x", "HOOK_TOKEN": "y"}
    assert missing_secrets(load_nightly(file).notices, given) == []
