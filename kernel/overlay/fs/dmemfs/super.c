// SPDX-License-Identifier: GPL-2.0
/*
 * Mounts, directories and inodes, and the module itself.
 */
#define pr_fmt(fmt) "dmemfs: " fmt

#include <linux/cpufeature.h>
#include <linux/ctype.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/suspend.h>

#include "dmemfs.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define DMEMFS_DEFAULT_MODE	0755

static struct kmem_cache *inode_cache __ro_after_init;

static const struct {
	const char *name;
	unsigned int order;
} page_sizes[] = {
	{ "4K", 0 },
	{ "2M", DMEM_CHUNK_ORDER },
	{ "1G", DMEM_SPAN_ORDER },
};

/* What cannot be mapped here, or NULL. */
static const char *page_size_objection(unsigned int order)
{
	if (order && !has_transparent_hugepage())
		return "this kernel maps nothing larger, use 4K";
	if (order == DMEM_SPAN_ORDER && !boot_cpu_has(X86_FEATURE_GBPAGES))
		return "this CPU has no such pages, use 4K or 2M";
	return NULL;
}

static const char *page_size_name(unsigned int order)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(page_sizes); i++)
		if (page_sizes[i].order == order)
			return page_sizes[i].name;
	return "?";
}

static const struct inode_operations dmemfs_dir_inode_operations;

static struct inode *new_node(struct super_block *sb, struct mnt_idmap *idmap,
			      const struct inode *dir, umode_t mode)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;

	inode->i_ino = get_next_ino();
	inode_init_owner(idmap, inode, dir, mode);
	simple_inode_init_ts(inode);
	if (S_ISDIR(mode)) {
		inode->i_op = &dmemfs_dir_inode_operations;
		inode->i_fop = &simple_dir_operations;
		inc_nlink(inode);	/* "." */
	} else {
		inode->i_op = &dmemfs_file_inode_operations;
		inode->i_fop = &dmemfs_file_operations;
		/* Large leaves do not depend on what transparent_hugepage/enabled says. */
		inode->i_flags |= S_DAX;
		dmemfs_poison_add_file(inode);
	}
	return inode;
}

static struct inode *new_secured_node(struct mnt_idmap *idmap, struct inode *dir,
				      const struct qstr *name, umode_t mode)
{
	struct inode *inode = new_node(dir->i_sb, idmap, dir, mode);
	int ret;

	if (!inode)
		return ERR_PTR(-ENOMEM);
	ret = security_inode_init_security(inode, dir, name, NULL, NULL);
	if (ret && ret != -EOPNOTSUPP) {
		iput(inode);
		return ERR_PTR(ret);
	}
	return inode;
}

static int make_node(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
		     umode_t mode)
{
	struct inode *inode = new_secured_node(idmap, dir, &dentry->d_name, mode);

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	d_instantiate(dentry, inode);
	dget(dentry);		/* There is no disk to find it on again. */
	inode_set_mtime_to_ts(dir, inode_set_ctime_current(dir));
	return 0;
}

static int dmemfs_create(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
			 umode_t mode, bool excl)
{
	return make_node(idmap, dir, dentry, mode | S_IFREG);
}

static int dmemfs_mkdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
			umode_t mode)
{
	int ret = make_node(idmap, dir, dentry, mode | S_IFDIR);

	if (!ret)
		inc_nlink(dir);
	return ret;
}

static int dmemfs_tmpfile(struct mnt_idmap *idmap, struct inode *dir, struct file *file,
			  umode_t mode)
{
	struct inode *inode = new_secured_node(idmap, dir, &file_dentry(file)->d_name,
					       mode | S_IFREG);

	if (!IS_ERR(inode))
		d_tmpfile(file, inode);
	return finish_open_simple(file, PTR_ERR_OR_ZERO(inode));
}

static const struct inode_operations dmemfs_dir_inode_operations = {
	.create		= dmemfs_create,
	.lookup		= simple_lookup,
	.link		= simple_link,
	.unlink		= simple_unlink,
	.mkdir		= dmemfs_mkdir,
	.rmdir		= simple_rmdir,
	.rename		= simple_rename,
	.tmpfile	= dmemfs_tmpfile,
};

static struct inode *dmemfs_alloc_inode(struct super_block *sb)
{
	struct dmemfs_inode_info *info = alloc_inode_sb(sb, inode_cache, GFP_KERNEL);

	if (!info)
		return NULL;
	mutex_init(&info->lock);
	mt_init(&info->extents);
	INIT_LIST_HEAD(&info->entry);
	info->nr_pages = 0;
	info->promised = 0;
	info->unpromised = 0;
	info->mappings = 0;
	return &info->vfs_inode;
}

static void dmemfs_free_inode(struct inode *inode)
{
	kmem_cache_free(inode_cache, DMEMFS_I(inode));
}

static void dmemfs_evict_inode(struct inode *inode)
{
	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	if (S_ISREG(inode->i_mode)) {
		dmemfs_poison_remove_file(inode);
		dmemfs_remove_all(inode);
	}
}

static int dmemfs_statfs(struct dentry *dentry, struct kstatfs *stat)
{
	struct dmemfs_sb_info *sbi = DMEMFS_SB(dentry->d_sb);
	u64 total, available;

	dmem_usage(&sbi->account, &total, &available);
	stat->f_type = DMEMFS_MAGIC;
	stat->f_bsize = PAGE_SIZE << sbi->order;
	stat->f_blocks = total >> sbi->order;
	stat->f_bfree = available >> sbi->order;
	stat->f_bavail = stat->f_bfree;
	stat->f_namelen = NAME_MAX;
	stat->f_fsid = u64_to_fsid(huge_encode_dev(dentry->d_sb->s_dev));
	return 0;
}

static int dmemfs_show_options(struct seq_file *m, struct dentry *root)
{
	const struct dmemfs_sb_info *sbi = DMEMFS_SB(root->d_sb);

	seq_printf(m, ",pagesize=%s", page_size_name(sbi->order));
	if (sbi->strict)
		seq_printf(m, ",node=%*pbl", nodemask_pr_args(&sbi->nodes));
	if (sbi->limit)
		seq_printf(m, ",size=%llu", sbi->limit);
	if (sbi->mode != DMEMFS_DEFAULT_MODE)
		seq_printf(m, ",mode=%03o", sbi->mode);
	if (!uid_eq(sbi->uid, GLOBAL_ROOT_UID))
		seq_printf(m, ",uid=%u", from_kuid_munged(&init_user_ns, sbi->uid));
	if (!gid_eq(sbi->gid, GLOBAL_ROOT_GID))
		seq_printf(m, ",gid=%u", from_kgid_munged(&init_user_ns, sbi->gid));
	return 0;
}

static const struct super_operations dmemfs_super_operations = {
	.alloc_inode	= dmemfs_alloc_inode,
	.free_inode	= dmemfs_free_inode,
	.drop_inode	= generic_delete_inode,
	.evict_inode	= dmemfs_evict_inode,
	.statfs		= dmemfs_statfs,
	.show_options	= dmemfs_show_options,
};

enum dmemfs_option {
	OPT_PAGESIZE = 1 << 0,
	OPT_NODE = 1 << 1,
	OPT_SIZE = 1 << 2,
	OPT_MODE = 1 << 3,
	OPT_UID = 1 << 4,
	OPT_GID = 1 << 5,
};

/**
 * struct dmemfs_context - options of a mount or remount
 * @seen:      which of them were given
 * @order:     pagesize=
 * @limit:     size=, in bytes
 * @nodes:     node=
 * @in_node:   the last option was node=, whose list may go on behind a comma
 * @mode:      mode=
 * @uid:       uid=
 * @gid:       gid=
 */
struct dmemfs_context {
	unsigned int seen;
	unsigned int order;
	u64 limit;
	nodemask_t nodes;
	bool in_node;
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
};

/* Values are checked by those who can say what is allowed instead. */
static int any_value(struct p_log *log, const struct fs_parameter_spec *spec,
		     struct fs_parameter *param, struct fs_parse_result *result)
{
	return 0;
}

static const struct fs_parameter_spec dmemfs_parameters[] = {
	__fsparam(any_value, "pagesize", OPT_PAGESIZE, 0, NULL),
	__fsparam(any_value, "node", OPT_NODE, 0, NULL),
	__fsparam(any_value, "size", OPT_SIZE, 0, NULL),
	__fsparam(any_value, "mode", OPT_MODE, 0, NULL),
	__fsparam(any_value, "uid", OPT_UID, 0, NULL),
	__fsparam(any_value, "gid", OPT_GID, 0, NULL),
	{}
};

/* Bytes with an optional suffix. Unlike memparse() this notices overflow and what is left over. */
static int parse_bytes(const char *text, u64 *ret)
{
	static const char suffixes[] = "KMGTPE";
	size_t len = strlen(text);
	unsigned int shift = 0;
	char digits[24];
	const char *s;
	u64 value;
	int r;

	if (!len || !isdigit(text[0]))
		return -EINVAL;
	s = strchr(suffixes, toupper(text[len - 1]));
	if (s) {
		shift = 10 * (s - suffixes + 1);
		len--;
	}
	if (len >= sizeof(digits))
		return -EINVAL;
	strscpy(digits, text, len + 1);
	r = kstrtou64(digits, 0, &value);
	if (r)
		return r;
	return check_shl_overflow(value, shift, ret) ? -ERANGE : 0;
}

static int parse_page_size(struct fs_context *fc, const char *value)
{
	struct dmemfs_context *ctx = fc->fs_private;
	const char *objection;
	unsigned int i;
	u64 bytes;

	for (i = 0; !parse_bytes(value, &bytes) && i < ARRAY_SIZE(page_sizes); i++) {
		if (bytes != PAGE_SIZE << page_sizes[i].order)
			continue;
		objection = page_size_objection(page_sizes[i].order);
		if (objection)
			return invalfc(fc, "pagesize=%s: %s", value, objection);
		ctx->order = page_sizes[i].order;
		return 0;
	}
	return invalfc(fc, "pagesize=%s is not one of 4K, 2M and 1G", value);
}

static void usable_nodes(nodemask_t *ret)
{
	unsigned int n;

	nodes_clear(*ret);
	for (n = 0; n < dmem_nr_nodes; n++)
		if (dmem_nodes[n].pool.nr_units)
			node_set(dmem_nodes[n].nid, *ret);
}

static int parse_nodes(struct fs_context *fc, const char *value)
{
	struct dmemfs_context *ctx = fc->fs_private;
	nodemask_t nodes, usable;

	usable_nodes(&usable);
	if (nodelist_parse(value, nodes) || nodes_empty(nodes))
		return invalfc(fc,
			       "node=%s is not a list of nodes such as 0 or 0-1; nodes with memory for dmemfs are %*pbl",
			       value, nodemask_pr_args(&usable));
	if (!nodes_subset(nodes, usable))
		return invalfc(fc, "node=%s: not all of them have memory for dmemfs, only %*pbl",
			       value, nodemask_pr_args(&usable));
	/* The part of the list behind a comma comes as an option of its own. */
	if (ctx->in_node)
		nodes_or(ctx->nodes, ctx->nodes, nodes);
	else
		ctx->nodes = nodes;
	return 0;
}

static int parse_size(struct fs_context *fc, const char *value)
{
	struct dmemfs_context *ctx = fc->fs_private;

	if (parse_bytes(value, &ctx->limit) || ctx->limit < PAGE_SIZE)
		return invalfc(fc,
			       "size=%s is not a size in bytes of at least 4K, with an optional suffix K, M, G or T",
			       value);
	return 0;
}

static int parse_mode(struct fs_context *fc, const char *value)
{
	struct dmemfs_context *ctx = fc->fs_private;
	u16 mode;

	if (kstrtou16(value, 8, &mode) || mode > 07777)
		return invalfc(fc, "mode=%s is not an octal mode from 0 to 7777", value);
	ctx->mode = mode;
	return 0;
}

static int parse_owner(struct fs_context *fc, const char *key, const char *value, bool group)
{
	struct dmemfs_context *ctx = fc->fs_private;
	unsigned int id;

	if (kstrtouint(value, 10, &id))
		return invalfc(fc, "%s=%s is not a numeric id from 0 to 4294967294", key, value);
	if (group) {
		ctx->gid = make_kgid(fc->user_ns, id);
		if (gid_valid(ctx->gid))
			return 0;
	} else {
		ctx->uid = make_kuid(fc->user_ns, id);
		if (uid_valid(ctx->uid))
			return 0;
	}
	return invalfc(fc, "%s=%s is not an id of this user namespace", key, value);
}

static int dmemfs_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct dmemfs_context *ctx = fc->fs_private;
	struct fs_parse_result result;
	const char *value = param->string;
	int opt, ret;

	/* node=0,2 arrives here as "node" with the value "0", and "2" without a value. */
	if (ctx->in_node && param->type == fs_value_is_flag && isdigit(param->key[0]))
		return parse_nodes(fc, param->key);
	ctx->in_node = false;

	opt = fs_parse(fc, dmemfs_parameters, param, &result);
	if (opt == -ENOPARAM) {
		ret = vfs_parse_fs_param_source(fc, param);
		if (ret != -ENOPARAM)
			return ret;
		return invalfc(fc,
			       "unknown option '%s', there are pagesize=, node=, size=, mode=, uid= and gid=",
			       param->key);
	}
	if (opt < 0)
		return opt;
	if (param->type != fs_value_is_string || !*value)
		return invalfc(fc, "option '%s' needs a value", param->key);

	ctx->seen |= opt;
	switch (opt) {
	case OPT_PAGESIZE:
		return parse_page_size(fc, value);
	case OPT_NODE:
		ret = parse_nodes(fc, value);
		ctx->in_node = !ret;
		return ret;
	case OPT_SIZE:
		return parse_size(fc, value);
	case OPT_MODE:
		return parse_mode(fc, value);
	default:
		return parse_owner(fc, param->key, value, opt == OPT_GID);
	}
}

/* Less than a page would be a file system without room for anything. */
static int check_limit(struct fs_context *fc, u64 limit, unsigned int order)
{
	if (limit && limit < PAGE_SIZE << order)
		return invalfc(fc, "size=%llu is less than a page of %s", limit,
			       page_size_name(order));
	return 0;
}

/* Bytes to base pages, for the ledger */
static u64 limit_pages(u64 limit)
{
	return limit ? limit >> PAGE_SHIFT : U64_MAX;
}

static int dmemfs_fill_super(struct super_block *sb, struct fs_context *fc)
{
	const struct dmemfs_context *ctx = fc->fs_private;
	struct dmemfs_sb_info *sbi;
	struct inode *root;
	int ret;

	ret = check_limit(fc, ctx->limit, ctx->order);
	if (ret)
		return ret;
	sbi = kzalloc(sizeof(*sbi), GFP_KERNEL);
	if (!sbi)
		return -ENOMEM;
	sb->s_fs_info = sbi;
	sbi->strict = ctx->seen & OPT_NODE;
	sbi->nodes = ctx->nodes;
	sbi->order = ctx->order;
	sbi->limit = ctx->limit;
	sbi->mode = ctx->mode;
	sbi->uid = ctx->uid;
	sbi->gid = ctx->gid;
	ret = dmem_open_account(&sbi->account, &sbi->nodes, limit_pages(sbi->limit));
	if (ret)
		return ret;

	/* Offsets can be rounded up to any page size. */
	sb->s_maxbytes = round_down(MAX_LFS_FILESIZE, PUD_SIZE);
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = DMEMFS_MAGIC;
	sb->s_op = &dmemfs_super_operations;
	sb->s_time_gran = 1;
	sb->s_iflags |= SB_I_NODEV;

	root = new_node(sb, &nop_mnt_idmap, NULL, S_IFDIR | sbi->mode);
	if (root) {
		root->i_uid = sbi->uid;
		root->i_gid = sbi->gid;
	}
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
}

static int dmemfs_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, dmemfs_fill_super);
}

/*
 * Only size= can be changed. mount(8) repeats the options of the mount, so the same value again is
 * no error.
 */
static int dmemfs_reconfigure(struct fs_context *fc)
{
	const struct dmemfs_context *ctx = fc->fs_private;
	struct dmemfs_sb_info *sbi = DMEMFS_SB(fc->root->d_sb);

	if ((ctx->seen & OPT_PAGESIZE) && ctx->order != sbi->order)
		return invalfc(fc, "pagesize= cannot be changed by a remount, it is %s",
			       page_size_name(sbi->order));
	if ((ctx->seen & OPT_NODE) && !nodes_equal(ctx->nodes, sbi->nodes))
		return invalfc(fc, "node= cannot be changed by a remount, it is %*pbl",
			       nodemask_pr_args(&sbi->nodes));
	if (((ctx->seen & OPT_MODE) && ctx->mode != sbi->mode) ||
	    ((ctx->seen & OPT_UID) && !uid_eq(ctx->uid, sbi->uid)) ||
	    ((ctx->seen & OPT_GID) && !gid_eq(ctx->gid, sbi->gid)))
		return invalfc(fc,
			       "mode=, uid= and gid= cannot be changed by a remount, use chmod and chown on the mount point");
	if (ctx->seen & OPT_SIZE) {
		int ret = check_limit(fc, ctx->limit, sbi->order);

		if (ret)
			return ret;
		if (dmem_set_limit(&sbi->account, limit_pages(ctx->limit)))
			return invalfc(fc, "size=%llu is less than the files have already",
				       ctx->limit);
		sbi->limit = ctx->limit;
	}
	return 0;
}

static void dmemfs_free_fc(struct fs_context *fc)
{
	kfree(fc->fs_private);
}

static const struct fs_context_operations dmemfs_context_operations = {
	.free		= dmemfs_free_fc,
	.parse_param	= dmemfs_parse_param,
	.get_tree	= dmemfs_get_tree,
	.reconfigure	= dmemfs_reconfigure,
};

static int dmemfs_init_fs_context(struct fs_context *fc)
{
	struct dmemfs_context *ctx;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL);
	if (!ctx)
		return -ENOMEM;
	ctx->order = page_size_objection(DMEM_CHUNK_ORDER) ? 0 : DMEM_CHUNK_ORDER;
	ctx->mode = DMEMFS_DEFAULT_MODE;
	ctx->uid = current_fsuid();
	ctx->gid = current_fsgid();
	usable_nodes(&ctx->nodes);
	fc->fs_private = ctx;
	fc->ops = &dmemfs_context_operations;
	return 0;
}

static void dmemfs_kill_sb(struct super_block *sb)
{
	struct dmemfs_sb_info *sbi = DMEMFS_SB(sb);

	kill_litter_super(sb);
	if (sbi)
		dmem_close_account(&sbi->account);
	kfree(sbi);
}

static struct file_system_type dmemfs_type = {
	.owner			= THIS_MODULE,
	.name			= "dmemfs",
	.init_fs_context	= dmemfs_init_fs_context,
	.parameters		= dmemfs_parameters,
	.kill_sb		= dmemfs_kill_sb,
	/* Not FS_USERNS_MOUNT: the memory is the host's, and size= is for its administrator. */
	.fs_flags		= FS_ALLOW_IDMAP,
};

static void init_inode_once(void *object)
{
	struct dmemfs_inode_info *info = object;

	inode_init_once(&info->vfs_inode);
}

/* An image of the system does not contain memory without struct page: guests would lose theirs. */
static int on_power_event(struct notifier_block *block, unsigned long event, void *data)
{
	unsigned int n;

	if (event != PM_HIBERNATION_PREPARE)
		return NOTIFY_DONE;
	for (n = 0; n < dmem_nr_nodes; n++) {
		if (!dmem_node_units(&dmem_nodes[n]).used)
			continue;
		pr_err("no hibernation, files have memory on node %d that would be lost\n",
		       dmem_nodes[n].nid);
		return notifier_from_errno(-EBUSY);
	}
	return NOTIFY_OK;
}

static struct notifier_block power_notifier = {
	.notifier_call = on_power_event,
};

static struct dmem_range *ranges;
static unsigned int nr_ranges;

static int __init dmemfs_init(void)
{
	unsigned int n;
	int ret;

	ret = dmem_regions_get(&ranges, &nr_ranges);
	if (ret)
		return ret;
	ret = dmem_nodes_init(ranges, nr_ranges);
	if (ret)
		goto put_regions;

	dmemfs_extents_init_locks();
	inode_cache = kmem_cache_create("dmemfs_inode_cache", sizeof(struct dmemfs_inode_info), 0,
					SLAB_ACCOUNT, init_inode_once);
	if (!inode_cache) {
		ret = -ENOMEM;
		goto exit_nodes;
	}
	ret = dmem_sysfs_init();
	if (ret)
		goto destroy_cache;
	ret = register_pm_notifier(&power_notifier);
	if (ret)
		goto exit_sysfs;
	/* Before the first file: what is known to be bad must not be handed out. */
	dmemfs_poison_init();
	ret = register_filesystem(&dmemfs_type);
	if (ret)
		goto exit_poison;

	for (n = 0; n < dmem_nr_nodes; n++)
		pr_info("node %d: %lu MiB\n", dmem_nodes[n].nid,
			dmem_nodes[n].pool.nr_units >> (20 - PAGE_SHIFT));
	return 0;

exit_poison:
	dmemfs_poison_exit();
	unregister_pm_notifier(&power_notifier);
exit_sysfs:
	dmem_sysfs_exit();
destroy_cache:
	kmem_cache_destroy(inode_cache);
exit_nodes:
	dmem_nodes_exit();
put_regions:
	dmem_regions_put(ranges, nr_ranges);
	return ret;
}

static void __exit dmemfs_exit(void)
{
	unregister_filesystem(&dmemfs_type);
	dmemfs_poison_exit();
	unregister_pm_notifier(&power_notifier);
	dmem_sysfs_exit();
	/* Inodes are freed after a grace period. */
	rcu_barrier();
	kmem_cache_destroy(inode_cache);
	dmem_nodes_exit();
	dmem_regions_put(ranges, nr_ranges);
}

module_init(dmemfs_init);
module_exit(dmemfs_exit);

MODULE_ALIAS_FS("dmemfs");
MODULE_DESCRIPTION("File system on memory without struct page");
MODULE_LICENSE("GPL");
