// SPDX-License-Identifier: GPL-2.0
/*
 * Class dmem: a device nodeN for each node with memory. See
 * Documentation/ABI/testing/sysfs-class-dmem.
 */
#include <linux/device.h>
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
	struct dmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n", dmem_node_free_units(node) << PAGE_SHIFT);
}
static DEVICE_ATTR_RO(free_bytes);

static ssize_t used_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct dmem_node *node = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n",
			  size_bytes(node) - (dmem_node_free_units(node) << PAGE_SHIFT));
}
static DEVICE_ATTR_RO(used_bytes);

static ssize_t poisoned_bytes_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	/* Nothing takes pages out of the pool yet. */
	return sysfs_emit(buf, "0\n");
}
static DEVICE_ATTR_RO(poisoned_bytes);

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
	NULL
};
ATTRIBUTE_GROUPS(dmem);

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
		if (dmem_nodes[n].dev)
			device_unregister(dmem_nodes[n].dev);
		dmem_nodes[n].dev = NULL;
	}
	class_unregister(&dmem_class);
}
