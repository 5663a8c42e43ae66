"""Features of the allocator's design, read from a kernel's source instead of its version."""

import re
from pathlib import Path

from harness.errors import InputError

_FUNCTION = re.compile(r"^decay_va_pool_node\(.*?^}", re.MULTILINE | re.DOTALL)
_DECAYS = (
    # 6.12: `if (!--n_decay) break;` behind the release. A quarter of 1 to 3 areas rounds to 0, and
    # counting down from there never meets 0 again: the pool loses all.
    ("all", re.compile(r"list_del_init\(&va->list\);.*!--n_decay\b", re.DOTALL)),
    # since 6.19: `if (!n_decay--) break;` before the release: the pool loses none.
    ("none", re.compile(r"!n_decay--.*list_del_init\(&va->list\);", re.DOTALL)),
)
# Of both forms: `n_decay = vn->pool[i].len >> 2` and `n_decay >>= 2`.
_A_QUARTER = re.compile(r"\bn_decay\s*(?:=[^;]*)?>>=?\s*2\s*;")


def allocator_features(tree: Path) -> dict[str, str]:
    """Return the features of mm/vmalloc.c below `tree` that the model needs.

    `small_pools`: what a pool of one to three areas loses in a purge, "all" or "none". `decay`:
    what a larger one loses, "quarter". Both are missing if the kernel has no pools, and "unknown"
    if the code has another form. Raises InputError if there is no such file.
    """
    path = tree / "mm/vmalloc.c"
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; is {tree} the source of a kernel?") from error
    function = _FUNCTION.search(text)
    if function is None:
        return {}
    forms = [name for name, pattern in _DECAYS if pattern.search(function[0])]
    return {
        "small_pools": forms[0] if len(forms) == 1 else "unknown",
        "decay": "quarter" if _A_QUARTER.search(function[0]) else "unknown",
    }
