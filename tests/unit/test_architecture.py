import ast

import pytest


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_one_module_runs_programs(repository):
    package = repository / "harness"
    users = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "subprocess" in imports_of(path)
    }
    assert users == {"process.py"}


def test_one_module_runs_git(repository):
    package = repository / "harness"
    argv = ast.dump(ast.Constant("git"))
    users = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.List) and node.elts and ast.dump(node.elts[0]) == argv
    }
    assert users == {"build/git.py"}


@pytest.mark.parametrize("word", ["pickle", "shelve", "marshal"])
def test_nothing_unpickles(repository, word):
    users = [p for p in (repository / "harness").rglob("*.py") if word in imports_of(p)]
    assert users == []


def test_no_shell(repository):
    for path in (repository / "harness").rglob("*.py"):
        assert "shell=True" not in path.read_text(), path
        assert "os.system" not in path.read_text(), path
