// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a device may access is not given to anybody else, whatever its owner does.
 *
 * Needs a device that is bound to vfio-pci, as /dev/vfio/GROUP. If that is QEMU's edu, which copies
 * memory at command, the device also really writes.
 */
#include "harness.h"

#include <dirent.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <time.h>

#define SIZE (64 * MiB)	/* what the device gets: the first half of a file */
#define IOVA (16 * MiB)	/* edu reaches 256 MiB */

/* QEMU's docs/specs/edu.rst */
#define EDU_ID 0x11e81234
#define EDU_DMA_SOURCE 0x80
#define EDU_DMA_TARGET 0x88
#define EDU_DMA_COUNT 0x90
#define EDU_DMA_COMMAND 0x98
#define EDU_DMA_START 1
#define EDU_DMA_TO_RAM 2
#define EDU_BUFFER 0x40000

static int container, device = -1;
static volatile uint8_t *edu;

static void pause_msec(long msec)
{
	nanosleep(&(struct timespec) { msec / 1000, msec % 1000 * 1000000 }, NULL);
}

/* Opens the first group there is; false if there is none. */
static bool open_group(int *ret_group)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct dirent *entry;
	char path[300] = "";
	DIR *dir;

	dir = opendir("/dev/vfio");
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			snprintf(path, sizeof(path), "/dev/vfio/%s", entry->d_name);
	if (dir)
		closedir(dir);
	*ret_group = path[0] ? open(path, O_RDWR | O_CLOEXEC) : -1;
	return *ret_group >= 0 && ioctl(*ret_group, VFIO_GROUP_GET_STATUS, &status) == 0 &&
	       (status.flags & VFIO_GROUP_FLAGS_VIABLE);
}

/* Any device of the group; its address is a name in sysfs. */
static void open_device(int group)
{
	struct dirent *entry;
	DIR *dir;

	dir = opendir("/sys/bus/pci/drivers/vfio-pci");
	while (dir && device < 0 && (entry = readdir(dir)))
		if (strchr(entry->d_name, ':'))
			device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, entry->d_name);
	if (dir)
		closedir(dir);
}

static bool open_edu(void)
{
	struct vfio_region_info config = { .argsz = sizeof(config) }, bar = config;
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	uint32_t id;
	void *map;

	config.index = VFIO_PCI_CONFIG_REGION_INDEX;
	bar.index = VFIO_PCI_BAR0_REGION_INDEX;
	if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) < 0 ||
	    pread(device, &id, sizeof(id), config.offset) != sizeof(id) || id != EDU_ID ||
	    pwrite(device, &command, sizeof(command), config.offset + PCI_COMMAND) < 0 ||
	    ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) < 0)
		return false;
	map = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, bar.offset);
	if (map == MAP_FAILED)
		return false;
	edu = map;
	return true;
}

static void edu_copy(uint64_t source, uint64_t target, uint32_t command)
{
	*(volatile uint64_t *)(edu + EDU_DMA_SOURCE) = source;
	*(volatile uint64_t *)(edu + EDU_DMA_TARGET) = target;
	*(volatile uint64_t *)(edu + EDU_DMA_COUNT) = 1024;
	*(volatile uint64_t *)(edu + EDU_DMA_COMMAND) = command | EDU_DMA_START;
	for (unsigned int i = 0; i < 100; i++) {
		if (!(*(volatile uint64_t *)(edu + EDU_DMA_COMMAND) & EDU_DMA_START))
			return;
		pause_msec(50);
	}
	die("the device does not finish");
}

/* The device has a KiB of something of its own, and writes it to memory. */
static void device_reads(uint64_t iova)
{
	if (edu)
		edu_copy(iova, EDU_BUFFER, 0);
}

static void device_writes(uint64_t iova)
{
	if (edu)
		edu_copy(EDU_BUFFER, iova, EDU_DMA_TO_RAM);
}

static void *map_file(int fd, uint64_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static bool map_dma(void *memory, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = IOVA,
		.size = size,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map) == 0;
}

static bool unmap_dma(uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = IOVA,
		.size = size,
	};

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0;
}

/* All that can be had, in one file: is all of it zero, and stays so when the device writes? */
static bool rest_is_untouched(void)
{
	uint64_t size = dmem_sum(-1, "free_bytes");
	char path[256];
	uint8_t *rest;
	bool good;
	int fd;

	fd = open_at("m", "rest", 0);
	if (fallocate(fd, 0, 0, size) < 0)
		die("fallocate %llu", (unsigned long long)size);
	rest = map_file(fd, size);
	device_writes(IOVA);
	device_writes(IOVA + SIZE / 2);
	good = all_bytes(rest, size, 0);
	munmap(rest, size);
	close(fd);
	snprintf(path, sizeof(path), "%s/m/rest", test_dir);
	unlink(path);
	return good;
}

static void test(const char *page_name)
{
	uint64_t free = dmem_sum(-1, "free_bytes");
	char options[64], path[256];
	uint8_t *memory;
	int fd;

	snprintf(options, sizeof(options), "pagesize=%s", page_name);
	if (mount_at("m", options, NULL, 0) < 0)
		die("mount");
	fd = open_at("m", "f", 0);
	if (ftruncate(fd, 2 * SIZE) < 0)
		die("ftruncate");
	memory = map_file(fd, 2 * SIZE);
	memset(memory, 0xda, 2 * SIZE);
	if (!check(map_dma(memory, SIZE), "%s: a device gets access", page_name)) {
		munmap(memory, 2 * SIZE);
		close(fd);
		unmount("m");
		return;
	}
	device_reads(IOVA);

	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE / 2) == 0 &&
	      all_bytes(memory, SIZE / 2, 0), "%s: a hole is punched", page_name);
	check(dmem_sum(-1, "free_bytes") == free - 2 * SIZE, "%s: but its memory stays", page_name);
	if (edu) {
		device_writes(IOVA);
		check(all_bytes(memory, 1024, 0xda), "%s: where the device writes", page_name);
	}
	check(ftruncate(fd, 0) == 0 && dmem_sum(-1, "free_bytes") == free - SIZE,
	      "%s: truncated, it gives back what the device does not have", page_name);
	check(ftruncate(fd, 2 * SIZE) == 0 && all_bytes(memory, 2 * SIZE, 0),
	      "%s: and extended again, it is empty", page_name);
	check(dmem_sum(-1, "free_bytes") == free - 2 * SIZE, "%s: and has its memory", page_name);

	munmap(memory, 2 * SIZE);
	close(fd);
	snprintf(path, sizeof(path), "%s/m/f", test_dir);
	unlink(path);
	pause_msec(2500);
	check(dmem_sum(-1, "free_bytes") == free - SIZE && sums_hold(),
	      "%s: the file is gone, the memory that the device has is not free", page_name);
	check(rest_is_untouched(), "%s: the device does not write to what others have", page_name);
	unmount("m");
	check(syscall(SYS_delete_module, "dmemfs", O_NONBLOCK) < 0,
	      "%s: and dmemfs does not forget about it", page_name);

	check(unmap_dma(SIZE) && wait_free(free), "%s: it is when the device has lost it",
	      page_name);
}

int main(void)
{
	int group;

	start("memory that devices access");
	if (!open_group(&group)) {
		skip("no device bound to vfio-pci", "memory that devices access");
		return finish();
	}
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (container < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		die("/dev/vfio/vfio");
	open_device(group);
	if (!open_edu())
		note("no edu device, so no device writes");
	test("2M");
	test("4K");
	test("1G");
	return finish();
}
