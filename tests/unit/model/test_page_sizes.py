"""The allocator with pages of 64 KiB, as arm64 has them: every count in pages follows."""

from harness.build.kconfig import page_size
from harness.model.allocator import Allocator, Rules
from harness.run.validate import image_range
from harness.spec.architecture import ARM64, X86_64
from harness.testmod.cases import LoadSize, lazy_max_pages
from harness.testmod.workload import Workload

PAGE = 65536


def test_a_zone_a_pool_and_the_lazy_limit_count_in_pages_of_the_kernel():
    assert (lazy_max_pages(1, PAGE), lazy_max_pages(64, PAGE)) == (512, 7 * 512)
    first = ARM64.vmalloc[0]
    rules = Rules(nodes=4, vmalloc_start=first, vmalloc_end=first + 2**40, page_size=PAGE)
    allocator = Allocator(rules)
    largest = [allocator.allocate(pages * PAGE).start for pages in (256, 257)]
    assert allocator.node_of(first) is allocator.node_of(first + 15 * PAGE)
    assert allocator.node_of(first) is not allocator.node_of(first + 16 * PAGE)
    for address in largest:
        allocator.free(address)
    assert allocator.lazy_pages == 513
    allocator.purge()
    assert [area.start for state, area in allocator.areas() if state == "pooled"] == largest[:1]


def test_an_alignment_of_one_page_pads_no_search():
    space = Allocator(Rules(page_size=PAGE)).space
    space.take(1, 2**64 - 1)
    space.release(PAGE, 2 * PAGE)  # room for exactly one page
    assert space.allocate(PAGE, PAGE, 0, 2**64 - 1) == PAGE


def test_what_the_kernel_s_own_image_takes_is_in_use_before_the_first_allocation():
    first = ARM64.vmalloc[0]
    image = (first, first + 4 * PAGE)
    rules = Rules(vmalloc_start=first, vmalloc_end=first + 2**40, page_size=PAGE, reserved=(image,))
    assert Allocator(rules).allocate(PAGE).start == image[1]


def test_the_image_lies_where_the_system_map_says():
    symbols = "ffff800080000000 T _text\nffff800080010000 T _stext\nffff800080e00000 B _end\n"
    assert image_range(symbols) == (0xFFFF800080000000, 0xFFFF800080E00000)
    assert image_range("") == (0, 0)


def test_the_page_size_is_what_the_configuration_says():
    assert page_size({"PAGE_SHIFT": "16"}, ARM64) == PAGE
    assert page_size({"ARM64_PAGE_SHIFT": "14"}, ARM64) == 16384  # before 6.9
    for odd in ({}, {"PAGE_SHIFT": "16"}, {"PAGE_SHIFT": "9" * 5000}):
        assert page_size(odd, X86_64) == 4096


def test_a_load_holds_as_many_pages_of_another_size():
    load = Workload({"nr_threads": 2, "nr_pages": 3}, ("long_busy_list_alloc_test",))
    assert load.held_kib(2, PAGE) == 16 * load.held_kib(2)
    assert load.memory_mib(2, PAGE) > load.held_kib(2, PAGE) // 1024
    huge = Workload({"use_huge": True, "nr_pages": 101}, ("fix_size_alloc_test",))
    assert huge.held_kib(1) == huge.held_kib(1, PAGE) // 4 == 2048  # 128 pages of 64 KiB hold 8 MiB
    assert LoadSize(1, 1, 1, 1, PAGE).kib(2) == 128
