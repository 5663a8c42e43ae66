"""The Phoronix Test Suite profile in contrib/phoronix.

PTS's schemas are GPL-3 and not kept here. With VMAPBENCH_PTS naming a copy of PTS (10.8 is known to
do) PTS itself validates the profile, installs it, runs it and reads its results; without, the
structure is held to what this file says of the schemas.
"""

import io
import os
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.store import export
from harness.store.store import open_store
from tests.flow.store.store_writers import boot_record, job_records, run_record, sample_records

PROFILE = Path(__file__).parents[2] / "contrib/phoronix/vmapbench-1.0.0"
PTS = os.environ.get("VMAPBENCH_PTS", "")
NOBODY = 54321  # a user without an account; as root PTS would write to /var and /etc
STAND_IN = """\
#!/bin/sh
# In place of vmapbench: "run" notes its arguments, "export" gives a log made beforehand.
here=$(dirname "$0")
case $1 in
run) echo "$@" > "$here/ran"; exit "$(cat "$here/status")" ;;
export) cat "$here/exported" ;;
esac
"""


@pytest.fixture
def exported(tmp_path):
    """Return the text of an export of a run with two kernels, two boots each."""
    store = open_store(tmp_path / "store.db")
    run = run_record()
    store.create_run(run, job_records(4))
    for position in range(4):
        store.record_boot(run.id, boot_record(position, samples=sample_records()))

    def text(form):
        stream = io.BytesIO()
        export.export_run(store, run.id, form, stream)
        return stream.getvalue().decode()

    yield text
    store.close()


@pytest.fixture
def folder():
    """A folder that a user without an account can reach, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="vmapbench-pts-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def home(folder, exported):
    """A home with the profile installed where PTS looks, a stand-in for vmapbench, a checkout."""
    profiles = folder / ".phoronix-test-suite/test-profiles/local"
    shutil.copytree(PROFILE, profiles / PROFILE.name)
    (folder / "it's a checkout/playbooks").mkdir(parents=True)
    (folder / "vmapbench").write_text(STAND_IN)
    (folder / "vmapbench").chmod(0o755)
    (folder / "status").write_text("0")
    (folder / "exported").write_text(exported("pts_log"))
    return folder


def environment(home):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "VMAPBENCH": str(home / "vmapbench"),
        "VMAPBENCH_CHECKOUT": str(home / "it's a checkout"),
    }


def parse_templates():
    root = ET.parse(PROFILE / "results-definition.xml").getroot()
    return [parser.findtext("OutputTemplate") for parser in root.iter("ResultsParser")]


def test_the_structure_is_what_we_know_of_the_schemas():
    """Check the order of elements and the values that types.xsd of PTS 10.8 allows."""
    root = ET.parse(PROFILE / "test-definition.xml").getroot()
    assert root.tag == "PhoronixTestSuite"
    assert [part.tag for part in root] == ["TestInformation", "TestProfile", "TestSettings"]
    facts = {element.tag: element.text for element in root.iter() if element.text}
    assert 2 <= len(facts["Title"]) <= 50
    assert facts["Proportion"] in ("LIB", "HIB")
    assert facts["TestType"] in ("System", "Processor", "Memory", "OS", "Other")
    assert facts["SoftwareType"] in ("Benchmark", "Utility", "Simulator")
    assert re.fullmatch(r"\d\.\d{1,2}\.\d{1,2}", facts["Version"])
    assert PROFILE.name == f"vmapbench-{facts['Version']}"
    order = ["OutputTemplate", "LineHint", "MultiMatch", "ResultScale", "ResultProportion"]
    for parser in ET.parse(PROFILE / "results-definition.xml").getroot():
        tags = [element.tag for element in parser]
        assert tags == [tag for tag in order if tag in tags] + ["AppendToArgumentsDescription"]
        assert parser.findtext("LineHint") in parser.findtext("OutputTemplate")


def test_the_menu_names_playbooks_that_exist(repository):
    root = ET.parse(PROFILE / "test-definition.xml").getroot()
    values = [entry.findtext("Value") for entry in root.iter("Entry")]
    assert len(values) == 3
    assert all((repository / value).is_file() for value in values)


def test_every_line_of_the_export_is_read_by_one_template(exported):
    patterns = [
        re.escape(template).replace(re.escape("#_RESULT_#"), r"[0-9.]+")
        for template in parse_templates()
    ]
    lines = exported("pts_log").splitlines()
    for line in lines:
        assert sum(bool(re.fullmatch(pattern, line)) for pattern in patterns) == 1
    for pattern in patterns:
        assert any(re.fullmatch(pattern, line) for line in lines)


def installed(home, work):
    work.mkdir()
    own = environment(home) | {"HOME": str(work)}
    subprocess.run(["sh", str(PROFILE / "install.sh")], cwd=work, env=own, check=True)
    return own


@pytest.mark.parametrize(("status", "passed"), [("0", True), ("1", True), ("3", False)])
def test_the_installed_script_runs_the_playbook_and_keeps_its_log(home, status, passed):
    work = home / "installed"
    own = installed(home, work)
    assert (work / "install-exit-status").read_text() == "0\n"
    (home / "status").write_text(status)
    log = work / "the log"
    subprocess.run(
        ["./vmapbench", "playbooks/smoke.yaml"],
        cwd=work,
        env=own | {"LOG_FILE": str(log)},
        check=False,
    )
    assert (home / "ran").read_text() == f"run playbooks/smoke.yaml --reports {work}/reports\n"
    assert ((work / "test-exit-status").read_text() == "0\n") is passed
    assert (log.read_text() == (home / "exported").read_text()) is passed


def test_an_installation_without_a_checkout_says_what_is_missing(home):
    shutil.rmtree(home / "it's a checkout")
    work = home / "installed"
    installed(home, work)
    assert (work / "install-exit-status").read_text() == "2\n"
    assert "VMAPBENCH_CHECKOUT" in (work / "install-message").read_text()


@pytest.fixture
def pts(home):
    """Calls PTS in `home`, without network and without questions."""
    if not PTS:
        pytest.skip("VMAPBENCH_PTS names no copy of the Phoronix Test Suite")
    shutil.copytree(PTS, home / "pts", ignore=shutil.ignore_patterns(".git", "ob-cache"))
    defaults = (home / "pts/pts-core/static/user-config-defaults.xml").read_text()
    for name, value in {
        "AnonymousUsageReporting": "FALSE",
        "NoInternetCommunication": "TRUE",
        "NoNetworkCommunication": "TRUE",
        "UploadResults": "FALSE",
        "PromptForTestIdentifier": "FALSE",
        "PromptForTestDescription": "FALSE",
        "PromptSaveName": "FALSE",
        "RunAllTestCombinations": "FALSE",
        "Configured": "TRUE",
        "SaveSystemLogs": "FALSE",
        "SleepTimeBetweenTests": "0",
    }.items():
        defaults = re.sub(f"<{name}>.*</{name}>", f"<{name}>{value}</{name}>", defaults)
    (home / ".phoronix-test-suite/user-config.xml").write_text(defaults)
    php = home / "php"  # PTS would take the account's home for HOME
    php.write_text('#!/bin/sh\nexec php -d disable_functions=posix_getpwuid "$@"\n')
    php.chmod(0o755)
    root = os.getuid() == 0
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if root else []

    def call(*words, **more):
        if root:
            subprocess.run(["chown", "-R", str(NOBODY), str(home)], check=True)
        own = environment(home) | {"PHP_BIN": str(php), "TERM": "dumb"} | more
        done = subprocess.run(
            [*become, "./phoronix-test-suite", *words],
            cwd=home / "pts", env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return call


def test_pts_finds_the_profile_valid(pts):
    said = pts("validate-test-profile", f"local/{PROFILE.name}")
    assert "Test Profile XML Is Valid." in said, said
    assert "Test Results Parser XML Is Valid." in said, said


def test_pts_installs_the_profile_runs_it_and_has_its_results(pts, home, exported):
    said = pts(
        "batch-benchmark", f"local/{PROFILE.name}",
        PRESET_OPTIONS_VALUES="vmapbench.playbook=playbooks/smoke.yaml",
        TEST_RESULTS_NAME="tried", TEST_RESULTS_IDENTIFIER="here",
    )  # fmt: skip
    composite = home / ".phoronix-test-suite/test-results/tried/composite.xml"
    assert composite.is_file(), said
    found = {
        result.findtext("Description").partition(" - ")[2]: float(
            result.findtext("Data/Entry/Value")
        )
        for result in ET.parse(composite).getroot().iter("Result")
    }
    log = exported("pts_log")
    baseline = [float(x) for x in re.findall(r"baseline whole load seconds: (.*)", log)]
    assert found["baseline, whole load"] == pytest.approx(sum(baseline) / len(baseline))
    assert set(found) == {
        "baseline, whole load",
        "candidate, whole load",
        "baseline time over candidate time",
    }
    assert "playbooks/smoke.yaml" in (home / "ran").read_text()


def test_pts_finds_our_composite_file_valid(pts, home, exported):
    results = home / ".phoronix-test-suite/test-results/ours"
    results.mkdir(parents=True)
    (results / "composite.xml").write_text(exported("pts"))
    said = pts("validate-result-file", "ours")
    assert "The result file is Valid." in said, said
