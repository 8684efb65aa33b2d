/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The files in var/lib/dmemd/ as JSON documents: reading them with suspicion
 *
 * The getters return -EBADMSG when the key is missing or holds another type, and -ENOMEM.
 */

#include <json.h>
#include <stddef.h>
#include <stdint.h>

/*
 * root_read_file() for a file that only root can have written: no link, owned by root (or by us),
 * writable by nobody else; else -EPERM.
 */
int state_read(int root_fd, const char *path, char **ret, size_t *ret_size);

/* The whole text is one object, and its `version` is the one we know; else -EBADMSG. */
int state_json_from_text(const char *text, size_t size, json_object **ret);
int state_json_to_text(json_object *object, char **ret);

int state_json_get_u64(json_object *object, const char *key, uint64_t *ret);
int state_json_get_text(json_object *object, const char *key, char **ret);     /* null: NULL */
int state_json_get_strings(json_object *object, const char *key, char ***ret); /* null: NULL */

/* A string that may hold any byte; null: NULL. It has a NUL behind it that the size does not count.
 */
int state_json_get_bytes(json_object *object, const char *key, char **ret, size_t *ret_size);
