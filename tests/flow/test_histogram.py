"""The histogram of the measuring module, compiled locally and compared with exact ranks."""

import math
import subprocess
from importlib.resources import files

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROGRAM = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
typedef uint64_t u64;
typedef uint32_t u32;
#define div64_u64(a, b) ((a) / (b))
#include "histogram.h"
int main(int count, char **words)
{
    static struct histogram h, sum;
    int i;

    for (i = 1; i < count; i++)
        count_time(i % 2 ? &h : &sum, strtoull(words[i], NULL, 10));
    add_histogram(&sum, &h); /* as the workers' are added up */
    printf("%llu %llu %llu %llu %llu\n", (unsigned long long)sum.calls,
           (unsigned long long)per_mille(&sum, 500), (unsigned long long)per_mille(&sum, 990),
           (unsigned long long)per_mille(&sum, 999), (unsigned long long)sum.longest);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("histogram")
    (folder / "program.c").write_text(PROGRAM)
    source = files("harness.testmod.own")
    argv = ["gcc", "-O1", "-Wall", "-Werror", "-fsanitize=undefined", f"-I{source}"]
    subprocess.run([*argv, "-o", folder / "program", folder / "program.c"], check=True)
    return folder / "program"


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(times=st.lists(st.integers(0, 2**40 - 1) | st.integers(0, 200), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_times_to_the_width_of_a_bucket(program, times):
    said = subprocess.run(
        [program, *map(str, times)], check=True, capture_output=True, text=True
    ).stdout
    calls, *percentiles, longest = map(int, said.split())
    assert (calls, longest) == (len(times), max(times))
    ordered = sorted(times)
    for share, found in zip((0.5, 0.99, 0.999), percentiles, strict=True):
        exact = ordered[math.ceil(round(share * len(times), 6)) - 1]
        assert exact <= found <= exact * (1 + 1 / 32)


def test_a_time_beyond_the_last_bucket_is_still_counted(program):
    said = subprocess.run([program, str(2**63)], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["1", *[str(2**40 - 1)] * 3, str(2**63)]
