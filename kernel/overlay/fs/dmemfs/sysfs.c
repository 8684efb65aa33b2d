// SPDX-License-Identifier: GPL-2.0
/*
 * Class dmem: a device nodeN for each node with memory. See
 * Documentation/ABI/testing/sysfs-class-dmem.
 */
#include <linux/build_bug.h>
#include <linux/ctype.h>
#include <linux/device.h>
#include <linux/kdev_t.h>
#include <linux/kstrtox.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "dmemfs.h"

static u64 size_bytes(const struct dmem_node *node)
{
	return (u64)node->pool.nr_units << PAGE_SHIFT;
}

static ssize_t requested_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	const struct dmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n", node->requested);
}
static DEVICE_ATTR_RO(requested_bytes);

static ssize_t size_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", size_bytes(dev_get_drvdata(dev)));
}
static DEVICE_ATTR_RO(size_bytes);

static ssize_t free_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", dmem_node_units(dev_get_drvdata(dev)).free << PAGE_SHIFT);
}
static DEVICE_ATTR_RO(free_bytes);

static ssize_t used_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", dmem_node_units(dev_get_drvdata(dev)).used << PAGE_SHIFT);
}
static DEVICE_ATTR_RO(used_bytes);

static ssize_t poisoned_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", dmem_node_units(dev_get_drvdata(dev)).out << PAGE_SHIFT);
}
static DEVICE_ATTR_RO(poisoned_bytes);

static ssize_t events_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", dmem_events_count(dev_get_drvdata(dev)));
}
static DEVICE_ATTR_RO(events);

/* An address as in the output of the other files, or decimal. A leading 0 is no octal number. */
static int parse_address(const char *text, u64 *ret)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

	if (!isdigit(text[0]) || kstrtou64(text, hex ? 16 : 10, ret))
		return -EINVAL;
	return 0;
}

static ssize_t retire_store(struct device *dev, struct device_attribute *attr, const char *buf,
			    size_t count)
{
	u64 address;
	int ret;

	ret = parse_address(buf, &address);
	if (!ret)
		ret = dmemfs_retire(dev_get_drvdata(dev), PHYS_PFN(address));
	return ret ?: count;
}
static DEVICE_ATTR_WO(retire);

static ssize_t regions_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	const struct dmem_node *node = dev_get_drvdata(dev);
	unsigned int i;
	int len = 0;

	for (i = 0; i < node->nr_ranges; i++)
		len += sysfs_emit_at(buf, len, "0x%llx-0x%llx\n", node->ranges[i].start,
				     node->ranges[i].end);
	return len;
}
static DEVICE_ATTR_RO(regions);

static struct attribute *dmem_attrs[] = {
	&dev_attr_requested_bytes.attr,
	&dev_attr_size_bytes.attr,
	&dev_attr_free_bytes.attr,
	&dev_attr_used_bytes.attr,
	&dev_attr_poisoned_bytes.attr,
	&dev_attr_regions.attr,
	&dev_attr_events.attr,
	&dev_attr_retire.attr,
	NULL
};

/*
 * Files with a record for each page, of which there may be thousands: more than fits into a page,
 * which is what an ordinary attribute can show. All records have the same length, so that it is
 * known where a read() has to go on, whatever has happened in between.
 */
typedef void (*record_fn)(char *record, size_t size, unsigned long pfn, bool used);

static ssize_t read_records(struct dmem_node *node, record_fn write, size_t size, bool only_used,
			    char *buf, loff_t offset, size_t count)
{
	unsigned long number = div_u64(offset, size), pfn = 0;
	size_t skip = offset - number * size, done = 0;
	char *record;
	bool used;

	record = kmalloc(size + 1, GFP_KERNEL);
	if (!record)
		return -ENOMEM;
	if (!only_used && number) {
		if (!dmem_find_retired(node, number - 1, &pfn, &used))
			goto out;
		pfn++;
		number = 0;
	}
	for (; done < count && dmem_find_retired(node, 0, &pfn, &used); pfn++) {
		size_t part;

		if ((only_used && !used) || (number && number--))
			continue;
		write(record, size, pfn, used);
		part = min(size - skip, count - done);
		memcpy(buf + done, record + skip, part);
		done += part;
		skip = 0;
		cond_resched();
	}
out:
	kfree(record);
	return done;
}

#define POISONED_RECORD	24
#define USERS_RECORD	512

static void write_poisoned(char *record, size_t size, unsigned long pfn, bool used)
{
	snprintf(record, size + 1, "0x%016llx %s\n", PFN_PHYS(pfn), used ? "used" : "free");
}

static ssize_t poisoned_read(struct file *file, struct kobject *kobj, struct bin_attribute *attr,
			     char *buf, loff_t offset, size_t count)
{
	return read_records(dev_get_drvdata(kobj_to_dev(kobj)), write_poisoned, POISONED_RECORD,
			    false, buf, offset, count);
}
static BIN_ATTR_RO(poisoned, 0);

static void write_user(char *record, size_t size, unsigned long pfn, bool used)
{
	struct dmem_owner *owner = kzalloc(sizeof(*owner), GFP_KERNEL);
	int len;

	/* The numbers take less than 80 bytes. */
	BUILD_BUG_ON(sizeof(owner->path) + sizeof(owner->processes) + 80 > USERS_RECORD);

	if (owner)
		dmemfs_find_owner(pfn, false, owner);
	if (owner && owner->known)
		len = snprintf(record, size, "0x%016llx %u:%u %lu 0x%llx %s %s", PFN_PHYS(pfn),
			       MAJOR(owner->dev), MINOR(owner->dev), owner->ino,
			       (u64)owner->index << PAGE_SHIFT, owner->processes[0] ?
			       owner->processes : "-", owner->path[0] ? owner->path : "-");
	else
		len = snprintf(record, size, "0x%016llx - - - - -", PFN_PHYS(pfn));
	kfree(owner);
	memset(record + len, ' ', size - len - 1);
	record[size - 1] = '\n';
}

static ssize_t users_read(struct file *file, struct kobject *kobj, struct bin_attribute *attr,
			  char *buf, loff_t offset, size_t count)
{
	return read_records(dev_get_drvdata(kobj_to_dev(kobj)), write_user, USERS_RECORD, true, buf,
			    offset, count);
}
static BIN_ATTR_ADMIN_RO(users, 0);

static struct bin_attribute *dmem_bin_attrs[] = {
	&bin_attr_poisoned,
	&bin_attr_users,
	NULL
};

static const struct attribute_group dmem_group = {
	.attrs		= dmem_attrs,
	.bin_attrs	= dmem_bin_attrs,
};

static const struct attribute_group *dmem_groups[] = {
	&dmem_group,
	NULL
};

static const struct class dmem_class = {
	.name		= "dmem",
	.dev_groups	= dmem_groups,
};

/**
 * dmem_sysfs_init() - make the nodes visible
 *
 * Return: %0 or a negative errno, and nothing is visible.
 */
int dmem_sysfs_init(void)
{
	unsigned int n;
	int ret;

	ret = class_register(&dmem_class);
	if (ret)
		return ret;

	for (n = 0; n < dmem_nr_nodes; n++) {
		struct dmem_node *node = &dmem_nodes[n];
		struct device *dev;

		dev = device_create(&dmem_class, NULL, MKDEV(0, 0), node, "node%d", node->nid);
		if (IS_ERR(dev)) {
			dmem_sysfs_exit();
			return PTR_ERR(dev);
		}
		node->dev = dev;
	}
	return 0;
}

/**
 * dmem_sysfs_exit() - undo dmem_sysfs_init()
 */
void dmem_sysfs_exit(void)
{
	unsigned int n;

	for (n = 0; n < dmem_nr_nodes; n++) {
		if (!dmem_nodes[n].dev)
			continue;
		/* An event can still come by way of a file, but nobody will be told of it. */
		disable_delayed_work_sync(&dmem_nodes[n].events.work);
		device_unregister(dmem_nodes[n].dev);
		dmem_nodes[n].dev = NULL;
	}
	class_unregister(&dmem_class);
}
