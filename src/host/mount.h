/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Mounts of dmemfs: which there are, and making one
 *
 * Uses libmount. Making a mount is for the live host only and needs root; nothing here unmounts,
 * as a guest may live in it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct DmemMount {
        char *where;        /* absolute path, not below the root */
        char *nodes;        /* list as in `0-1`, or `all` */
        uint64_t page_size; /* largest mapping used: 4K, 2M or 1G; 0: unknown */
} DmemMount;

typedef struct DmemMounts {
        DmemMount *items;
        size_t n_items;
} DmemMounts;

void dmem_mounts_done(DmemMounts *mounts);

/*
 * Reads the mounts of dmemfs from proc/self/mountinfo, in the order of that file. No such file (a
 * captured host) is no mount. Returns 0, -EBADMSG or -ENOMEM; @ret is untouched on error.
 */
int host_load_mounts(int root_fd, DmemMounts *ret);

/* What shall be mounted. type is `dmemfs`; tests use a file system that every kernel has. */
typedef struct MountWish {
        const char *type;
        const char *where;  /* absolute path; missing folders are created with mode 0755 */
        uint64_t page_size; /* 0: the file system has no such option */
        mode_t mode;
        uid_t uid;
        gid_t gid;
} MountWish;

/* Makes the kernel load the module of a file system, if there is one; nothing is mounted. */
void mount_load_type(const char *type);

/*
 * mount_ensure() - mount it unless that is done already
 * @ret_why: what is wrong and what to do about it, to be freed by the caller; set on error only,
 *           may even then be NULL when there is no memory
 *
 * A file system of that type with that page size that is already there stays as it is, only owner
 * and mode are brought in line. Never mounts over another file system.
 *
 * Returns 1 (mounted now), 0 (was there), -EEXIST (there is another file system, or another page
 * size), -ENODEV (the kernel does not know the type), -ENOTDIR, or what mount(2) said.
 */
int mount_ensure(const MountWish *wish, char **ret_why);
