CC = $(CROSS_COMPILE)gcc
objects := mm/vmalloc.o mm/slab.o lib/test_vmalloc.o
all: arch/x86/boot/bzImage lib/test_vmalloc.ko System.map include/config/kernel.release

$(objects): %.o: ../%.c
	@echo "  CC      $@"
	@mkdir -p $(@D)
	@sleep $${TOY_SLEEP:-0}
	@$(CC) $(KCFLAGS) -c -o $@ $<
vmlinux: $(objects)
	@echo "  LD      $@"
	@$(CROSS_COMPILE)ld -r -o $@ $^
arch/x86/boot/bzImage: vmlinux
	@echo "  BUILD   $@"
	@mkdir -p $(@D) && cp $< $@
lib/test_vmalloc.ko: lib/test_vmalloc.o
	@echo "  LD [M]  $@"
	@cp $< $@
System.map: vmlinux
	@nm $< > $@
include/config/kernel.release:
	@mkdir -p $(@D) && echo 6.99.0-toy > $@
