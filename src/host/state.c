/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "basic/root-fs.h"
#include "host/plan-json.h"
#include "host/state-json.h"
#include "host/state.h"

#define VERSION 1

/* Of the JSON texts in var/lib/dmemd/; ours have a handful of levels. */
#define DEPTH_MAX 16

DEFINE_CLEANUP(char **, strv_free);
DEFINE_CLEANUP(struct json_tokener *, json_tokener_free);

Applied *applied_free(Applied *a) {
        if (!a)
                return NULL;
        free(a->boot_id);
        strv_free(a->arguments);
        free(a->nodes);
        free(a);
        return NULL;
}

const AppliedNode *applied_find_node(const Applied *a, unsigned id) {
        for (size_t i = 0; i < a->n_nodes; i++)
                if (a->nodes[i].id == id)
                        return a->nodes + i;
        return NULL;
}

static int copy_strings(char *const *strings, char ***ret) {
        _cleanup_(strv_freep) char **copy = NULL;

        copy = new0(char *, strv_length(strings) + 1);
        if (!copy)
                return -ENOMEM;
        for (size_t i = 0; strings && strings[i]; i++) {
                copy[i] = strdup(strings[i]);
                if (!copy[i])
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(copy);
        return 0;
}

int applied_new(int root_fd, const Plan *plan, Applied **ret) {
        _cleanup_(applied_freep) Applied *a = NULL;
        struct timespec now;
        int r;

        a = new0(Applied, 1);
        if (!a)
                return -ENOMEM;
        a->backend = plan->backend;
        if (clock_gettime(CLOCK_REALTIME, &now) < 0)
                return -errno;
        a->time_usec = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
        r = root_read_text(root_fd, "proc/sys/kernel/random/boot_id", &a->boot_id);
        if (r == -ENOMEM)
                return r; /* any other error: this root is not running */
        r = copy_strings(plan->arguments, &a->arguments);
        if (r < 0)
                return r;
        a->nodes = new0(AppliedNode, plan->n_nodes + 1);
        if (!a->nodes)
                return -ENOMEM;
        for (size_t i = 0; i < plan->n_nodes; i++) {
                const PlanNode *node = plan->nodes + i;

                if (node->dmem_bytes == 0 && node->huge_2m == 0 && node->huge_1g == 0)
                        continue;
                a->nodes[a->n_nodes++] = (AppliedNode){
                        .id = node->id,
                        .dmem_bytes = node->dmem_bytes,
                        .huge_2m = node->huge_2m,
                        .huge_1g = node->huge_1g,
                };
        }
        *ret = TAKE_PTR(a);
        return 0;
}

static json_object *node_to_json(const AppliedNode *node) {
        _cleanup_(json_object_putp) json_object *object = NULL;

        object = json_object_new_object();
        if (!object || json_add(object, "id", json_object_new_int64(node->id)) < 0 ||
            json_add(object, "dmem_bytes", json_new_bytes(node->dmem_bytes)) < 0 ||
            json_add(object, "pages_2m", json_new_bytes(node->huge_2m)) < 0 ||
            json_add(object, "pages_1g", json_new_bytes(node->huge_1g)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static int nodes_to_json(const Applied *a, json_object **ret) {
        _cleanup_(json_object_putp) json_object *array = NULL;
        int r;

        array = json_object_new_array();
        if (!array)
                return -ENOMEM;
        for (size_t i = 0; i < a->n_nodes; i++) {
                r = json_append(array, node_to_json(a->nodes + i));
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(array);
        return 0;
}

int state_json_to_text(json_object *object, char **ret) {
        const char *text;
        char *copy;

        text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text || asprintf(&copy, "%s\n", text) < 0)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int applied_to_text(const Applied *a, char **ret) {
        _cleanup_(json_object_putp) json_object *object = NULL, *arguments = NULL, *nodes = NULL;
        int r;

        object = json_object_new_object();
        if (!object)
                return -ENOMEM;
        r = strv_to_json(a->arguments, &arguments);
        if (r >= 0)
                r = nodes_to_json(a, &nodes);
        if (r >= 0)
                r = json_add(object, "version", json_object_new_int(VERSION));
        if (r >= 0)
                r = json_add(object, "backend",
                             json_object_new_string(backend_to_string(a->backend)));
        if (r >= 0)
                r = json_add(object, "time_usec", json_new_bytes(a->time_usec));
        if (r >= 0 && a->boot_id)
                r = json_add(object, "boot_id", json_object_new_string(a->boot_id));
        else if (r >= 0)
                r = json_object_object_add(object, "boot_id", NULL) < 0 ? -ENOMEM : 0;
        if (r >= 0)
                r = json_add(object, "arguments", TAKE_PTR(arguments));
        if (r >= 0)
                r = json_add(object, "nodes", TAKE_PTR(nodes));
        return r < 0 ? r : state_json_to_text(object, ret);
}

int state_json_from_text(const char *text, size_t size, json_object **ret) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        _cleanup_(json_tokener_freep) struct json_tokener *tokener = NULL;
        uint64_t version;
        size_t end;

        if (size > ROOT_FILE_MAX)
                return -EBADMSG;
        tokener = json_tokener_new_ex(DEPTH_MAX);
        if (!tokener)
                return -ENOMEM;
        object = json_tokener_parse_ex(tokener, text, (int)size);
        if (!object)
                return -EBADMSG;
        end = json_tokener_get_parse_end(tokener);
        if (end + strspn(text + end, "\n") != size ||
            !json_object_is_type(object, json_type_object))
                return -EBADMSG;
        if (state_json_get_u64(object, "version", &version) < 0 || version != VERSION)
                return -EBADMSG;
        *ret = TAKE_PTR(object);
        return 0;
}

int state_json_get_u64(json_object *object, const char *key, uint64_t *ret) {
        json_object *value;

        if (!json_object_object_get_ex(object, key, &value) ||
            !json_object_is_type(value, json_type_int))
                return -EBADMSG;
        if (json_object_get_int64(value) < 0)
                return -EBADMSG;
        *ret = json_object_get_uint64(value);
        return 0;
}

int state_json_get_bytes(json_object *object, const char *key, char **ret, size_t *ret_size) {
        json_object *value;
        size_t size;
        char *copy;

        if (!json_object_object_get_ex(object, key, &value))
                return -EBADMSG;
        if (!value) {
                *ret = NULL;
                *ret_size = 0;
                return 0;
        }
        if (!json_object_is_type(value, json_type_string))
                return -EBADMSG;
        size = (size_t)json_object_get_string_len(value);
        copy = new0(char, size + 1);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, json_object_get_string(value), size);
        *ret = copy;
        *ret_size = size;
        return 0;
}

int state_json_get_text(json_object *object, const char *key, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = state_json_get_bytes(object, key, &text, &size);
        if (r < 0)
                return r;
        if (text && strlen(text) != size)
                return -EBADMSG;
        *ret = TAKE_PTR(text);
        return 0;
}

int state_json_get_strings(json_object *object, const char *key, char ***ret) {
        _cleanup_(strv_freep) char **strings = NULL;
        json_object *array;
        size_t n;

        if (!json_object_object_get_ex(object, key, &array))
                return -EBADMSG;
        if (!array) {
                *ret = NULL;
                return 0;
        }
        if (!json_object_is_type(array, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(array);
        strings = new0(char *, n + 1);
        if (!strings)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                json_object *value = json_object_array_get_idx(array, i);

                if (!value || !json_object_is_type(value, json_type_string))
                        return -EBADMSG;
                strings[i] = strdup(json_object_get_string(value));
                if (!strings[i])
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(strings);
        return 0;
}

static int nodes_from_json(json_object *object, Applied *a) {
        json_object *array;
        size_t n;

        if (!json_object_object_get_ex(object, "nodes", &array) ||
            !json_object_is_type(array, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(array);
        a->nodes = new0(AppliedNode, n + 1);
        if (!a->nodes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                json_object *value = json_object_array_get_idx(array, i);
                AppliedNode *node = a->nodes + i;
                uint64_t id;

                if (!json_object_is_type(value, json_type_object) ||
                    state_json_get_u64(value, "id", &id) < 0 || id > UINT32_MAX ||
                    (i > 0 && id <= node[-1].id) ||
                    state_json_get_u64(value, "dmem_bytes", &node->dmem_bytes) < 0 ||
                    state_json_get_u64(value, "pages_2m", &node->huge_2m) < 0 ||
                    state_json_get_u64(value, "pages_1g", &node->huge_1g) < 0)
                        return -EBADMSG;
                node->id = (unsigned)id;
                a->n_nodes++;
        }
        return 0;
}

int applied_from_text(const char *text, size_t size, Applied **ret) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        _cleanup_(applied_freep) Applied *a = NULL;
        _cleanup_free_ char *backend = NULL;
        int r;

        r = state_json_from_text(text, size, &object);
        if (r < 0)
                return r;
        a = new0(Applied, 1);
        if (!a)
                return -ENOMEM;
        r = state_json_get_text(object, "backend", &backend);
        if (r < 0)
                return r;
        if (!backend || backend_from_string(backend, &a->backend) < 0)
                return -EBADMSG;
        r = state_json_get_u64(object, "time_usec", &a->time_usec);
        if (r >= 0)
                r = state_json_get_text(object, "boot_id", &a->boot_id);
        if (r >= 0)
                r = state_json_get_strings(object, "arguments", &a->arguments);
        if (r >= 0 && !a->arguments)
                r = -EBADMSG;
        if (r >= 0)
                r = nodes_from_json(object, a);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

int state_read(int root_fd, const char *path, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = root_openat(root_fd, path, O_PATH | O_NOFOLLOW, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (st.st_mode & 022) ||
            (st.st_uid != 0 && st.st_uid != geteuid()))
                return -EPERM;
        return root_read_file(root_fd, path, ret, ret_size);
}

int state_load_applied(int root_fd, Applied **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = state_read(root_fd, STATE_APPLIED, &text, &size);
        return r < 0 ? r : applied_from_text(text, size, ret);
}
