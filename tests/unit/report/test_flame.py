"""Flame graphs: widths are times, colours are differences, and nothing in them is trusted."""

import re
from xml.etree import ElementTree as ET

from harness.report.flame import flame_graph, flame_graphs
from harness.targets.explanation import BootAccount, Stack


def account(**stacks):
    rows = tuple(Stack(functions=tuple(k.split("__")), cpu_ns=ns) for k, ns in stacks.items())
    return BootAccount(clock="made up", spin_ns=0, locks=(), functions=(), stacks=rows)


A = account(work__alloc=60_000_000, work__free=40_000_000)
B = account(work__alloc=160_000_000, work__free=40_000_000)


def rects(svg):
    found = re.findall(r"<title>([^<]*)</title><rect width=\"([0-9.]+)\".*?fill=\"(#\w+)\"", svg)
    return {title.split(":")[0]: (title, float(width), colour) for title, width, colour in found}


def test_widths_are_shares_of_all_time():
    found = rects(str(flame_graph(A)))
    widths = {name: width for name, (_, width, _) in found.items()}
    assert widths == {"all": 960.0, "work": 960.0, "alloc": 576.0, "free": 384.0}


def test_a_difference_is_red_where_there_is_more():
    found = rects(str(flame_graph(B, A)))
    assert found["alloc"][0] == "alloc: 160.000 ms, +100.000 ms"
    assert found["alloc"][2] == "#eb6969"
    assert found["free"][2] == "#ebebeb"


def test_one_a_kernel_then_the_differences():
    assert [row[:2] for row in flame_graphs({"a": A, "b": B})] == [
        *[("a", ""), ("b", ""), ("b", "a")],
    ]
    assert flame_graphs({"a": account()}) == []
    assert flame_graphs({}) == []


def test_names_are_text_and_the_picture_is_well_formed():
    svg = str(flame_graph(account(**{"<script>&__x": 5})))
    assert "<script>" not in svg
    ET.fromstring(svg)
