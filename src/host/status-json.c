/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <limits.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/plan-json.h"
#include "host/status-json.h"

#define STATUS_VERSION 1

/* Nesting of the document; a text that nests deeper is none of ours. */
#define DEPTH_MAX 16

/* From the host to JSON */

static json_object *new_text(const char *text) {
        return json_object_new_string(text);
}

/* Adds null for what is not known, which is no shortage of memory. */
static int add_null(json_object *object, const char *key) {
        return json_object_object_add(object, key, NULL) < 0 ? -ENOMEM : 0;
}

static int add_maybe_text(json_object *object, const char *key, const char *text) {
        return text ? json_add(object, key, new_text(text)) : add_null(object, key);
}

static int add_maybe_bytes(json_object *object, const char *key, MaybeBytes value) {
        return value.known ? json_add(object, key, json_new_bytes(value.bytes))
                           : add_null(object, key);
}

static int add_strings(json_object *object, const char *key, char *const *strings) {
        json_object *array;

        if (!strings)
                return add_null(object, key);
        if (strv_to_json(strings, &array) < 0)
                return -ENOMEM;
        return json_add(object, key, array);
}

static int add_address(json_object *object, const char *key, uint64_t address) {
        char text[2 + 16 + 1];

        (void)snprintf(text, sizeof(text), "0x%" PRIx64, address);
        return json_add(object, key, new_text(text));
}

static json_object *region_to_json(const DmemRange *region) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || add_address(object, "start", region->start) < 0 ||
            add_address(object, "end", region->end) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *regions_to_json(const StatusNode *node) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();

        for (size_t i = 0; array && i < node->n_regions; i++)
                if (json_append(array, region_to_json(&node->regions[i])) < 0)
                        return NULL;
        return TAKE_PTR(array);
}

static json_object *pool_to_json(const StatusPool *pool) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "page_size", json_new_bytes(pool->page_size)) < 0 ||
            add_maybe_bytes(object, "configured", pool->configured) < 0 ||
            add_maybe_bytes(object, "booted", pool->booted) < 0 ||
            add_maybe_bytes(object, "granted", pool->granted) < 0 ||
            add_maybe_bytes(object, "free", pool->free) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *pools_to_json(const StatusNode *node) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();

        for (size_t i = 0; array && i < node->n_pools; i++)
                if (json_append(array, pool_to_json(&node->pools[i])) < 0)
                        return NULL;
        return TAKE_PTR(array);
}

static json_object *node_to_json(const StatusNode *node) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "id", json_new_bytes(node->id)) < 0 ||
            add_maybe_text(object, "cpus", node->cpus) < 0 ||
            add_maybe_bytes(object, "configured_bytes", node->configured) < 0 ||
            add_maybe_bytes(object, "booted_bytes", node->booted) < 0 ||
            add_maybe_bytes(object, "granted_bytes", node->granted) < 0 ||
            add_maybe_bytes(object, "used_bytes", node->used) < 0 ||
            add_maybe_bytes(object, "free_bytes", node->free) < 0 ||
            add_maybe_bytes(object, "poisoned_bytes", node->poisoned) < 0 ||
            json_add(object, "regions", regions_to_json(node)) < 0 ||
            json_add(object, "hugepages", pools_to_json(node)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *nodes_to_json(const Status *s) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();

        for (size_t i = 0; array && i < s->n_nodes; i++)
                if (json_append(array, node_to_json(&s->nodes[i])) < 0)
                        return NULL;
        return TAKE_PTR(array);
}

static json_object *mount_to_json(const DmemMount *mount) {
        MaybeBytes page_size = { .known = mount->page_size > 0, .bytes = mount->page_size };
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "where", new_text(mount->where)) < 0 ||
            json_add(object, "nodes", new_text(mount->nodes)) < 0 ||
            add_maybe_bytes(object, "page_size", page_size) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *mounts_to_json(const DmemMounts *mounts) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();

        for (size_t i = 0; array && i < mounts->n_items; i++)
                if (json_append(array, mount_to_json(&mounts->items[i])) < 0)
                        return NULL;
        return TAKE_PTR(array);
}

json_object *status_to_json(const Status *s) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "version", json_object_new_int(STATUS_VERSION)) < 0 ||
            json_add(object, "source", new_text(s->source)) < 0 ||
            json_add(object, "state", new_text(state_to_string(s->state))) < 0 ||
            add_maybe_text(object, "backend",
                           s->has_backend ? backend_to_string(s->backend) : NULL) < 0 ||
            json_add(object, "reboot_required", json_object_new_boolean(s->reboot_required)) < 0 ||
            add_strings(object, "configured", s->configured) < 0 ||
            add_maybe_text(object, "configured_source",
                           configured_source_to_string(s->configured_source)) < 0 ||
            add_strings(object, "booted", s->booted) < 0 ||
            add_maybe_bytes(object, "requested_bytes", s->requested) < 0 ||
            add_maybe_bytes(object, "granted_bytes", s->granted) < 0 ||
            add_maybe_bytes(object, "used_bytes", s->used) < 0 ||
            add_maybe_bytes(object, "free_bytes", s->free) < 0 ||
            add_maybe_bytes(object, "poisoned_bytes", s->poisoned) < 0 ||
            add_maybe_bytes(object, "metadata_saved_bytes", s->metadata_saved) < 0 ||
            json_add(object, "nodes", nodes_to_json(s)) < 0 ||
            json_add(object, "mounts", mounts_to_json(&s->mounts)) < 0 ||
            json_add(object, "findings", findings_to_json(&s->findings)) < 0 ||
            json_add(object, "advice", new_text(s->advice)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

int status_format(const Status *s, char **ret) {
        return json_to_text(status_to_json(s), JSON_C_TO_STRING_PLAIN, ret);
}

/* And back. Each reader returns 0, -EBADMSG or -ENOMEM; a missing key reads as null. */

static json_object *get(json_object *object, const char *key) {
        json_object *value = NULL;

        (void)json_object_object_get_ex(object, key, &value);
        return value;
}

static int read_bytes(json_object *value, uint64_t *ret) {
        if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
                return -EBADMSG;
        *ret = json_object_get_uint64(value);
        return 0;
}

static int get_maybe_bytes(json_object *object, const char *key, MaybeBytes *ret) {
        json_object *value = get(object, key);
        int r;

        if (!value)
                return 0;
        r = read_bytes(value, &ret->bytes);
        if (r < 0)
                return r;
        ret->known = true;
        return 0;
}

static int get_maybe_text(json_object *object, const char *key, char **ret) {
        json_object *value = get(object, key);

        if (!value)
                return 0;
        if (!json_object_is_type(value, json_type_string))
                return -EBADMSG;
        *ret = strdup(json_object_get_string(value));
        return *ret ? 0 : -ENOMEM;
}

static int get_text(json_object *object, const char *key, char **ret) {
        int r;

        r = get_maybe_text(object, key, ret);
        return r == 0 && !*ret ? -EBADMSG : r;
}

static int get_array(json_object *object, const char *key, json_object **ret) {
        *ret = get(object, key);
        return json_object_is_type(*ret, json_type_array) ? 0 : -EBADMSG;
}

static int get_strings(json_object *object, const char *key, char ***ret) {
        json_object *array = get(object, key);
        size_t n;

        if (!array)
                return 0;
        if (!json_object_is_type(array, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(array);
        *ret = new0(char *, n + 1);
        if (!*ret)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                json_object *item = json_object_array_get_idx(array, i);

                if (!json_object_is_type(item, json_type_string))
                        return -EBADMSG;
                (*ret)[i] = strdup(json_object_get_string(item));
                if (!(*ret)[i])
                        return -ENOMEM;
        }
        return 0;
}

static int read_region(json_object *object, DmemRange *ret) {
        _cleanup_free_ char *start = NULL, *end = NULL;
        int r;

        r = get_text(object, "start", &start);
        if (r < 0)
                return r;
        r = get_text(object, "end", &end);
        if (r < 0)
                return r;
        if (parse_hex(start, &ret->start) < 0 || parse_hex(end, &ret->end) < 0)
                return -EBADMSG;
        return 0;
}

static int read_regions(json_object *object, StatusNode *node) {
        json_object *array;
        size_t n;
        int r;

        r = get_array(object, "regions", &array);
        if (r < 0)
                return r;
        n = json_object_array_length(array);
        if (n == 0)
                return 0;
        node->regions = new0(DmemRange, n);
        if (!node->regions)
                return -ENOMEM;
        for (node->n_regions = 0; node->n_regions < n; node->n_regions++) {
                r = read_region(json_object_array_get_idx(array, node->n_regions),
                                &node->regions[node->n_regions]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_pool(json_object *object, StatusPool *pool) {
        const struct {
                const char *key;
                MaybeBytes *value;
        } numbers[] = {
                { "configured", &pool->configured },
                { "booted", &pool->booted },
                { "granted", &pool->granted },
                { "free", &pool->free },
        };
        int r;

        r = read_bytes(get(object, "page_size"), &pool->page_size);
        for (size_t i = 0; i < ELEMENTSOF(numbers) && r >= 0; i++)
                r = get_maybe_bytes(object, numbers[i].key, numbers[i].value);
        return r;
}

static int read_pools(json_object *object, StatusNode *node) {
        json_object *array;
        size_t n;
        int r;

        if (!get(object, "hugepages"))
                return 0; /* an earlier dmemd */
        r = get_array(object, "hugepages", &array);
        if (r < 0)
                return r;
        n = json_object_array_length(array);
        node->pools = new0(StatusPool, n + 1);
        if (!node->pools)
                return -ENOMEM;
        for (node->n_pools = 0; node->n_pools < n && r >= 0; node->n_pools++)
                r = read_pool(json_object_array_get_idx(array, node->n_pools),
                              &node->pools[node->n_pools]);
        return r;
}

static int read_node(json_object *object, StatusNode *node) {
        const struct {
                const char *key;
                MaybeBytes *value;
        } numbers[] = {
                { "configured_bytes", &node->configured },
                { "booted_bytes", &node->booted },
                { "granted_bytes", &node->granted },
                { "used_bytes", &node->used },
                { "free_bytes", &node->free },
                { "poisoned_bytes", &node->poisoned },
        };
        uint64_t id;
        int r;

        r = read_bytes(get(object, "id"), &id);
        if (r < 0 || id > UINT_MAX)
                return -EBADMSG;
        node->id = (unsigned)id;
        r = get_maybe_text(object, "cpus", &node->cpus);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                r = get_maybe_bytes(object, numbers[i].key, numbers[i].value);
                if (r < 0)
                        return r;
        }
        r = read_regions(object, node);
        return r < 0 ? r : read_pools(object, node);
}

static int read_nodes(json_object *object, Status *s) {
        json_object *array;
        size_t n;
        int r;

        r = get_array(object, "nodes", &array);
        if (r < 0)
                return r;
        n = json_object_array_length(array);
        s->nodes = new0(StatusNode, n > 0 ? n : 1);
        if (!s->nodes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = read_node(json_object_array_get_idx(array, i), &s->nodes[s->n_nodes++]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_mount(json_object *object, DmemMount *mount) {
        MaybeBytes page_size = {};
        int r;

        r = get_text(object, "where", &mount->where);
        if (r < 0)
                return r;
        r = get_text(object, "nodes", &mount->nodes);
        if (r < 0)
                return r;
        r = get_maybe_bytes(object, "page_size", &page_size);
        if (r < 0)
                return r;
        mount->page_size = page_size.bytes;
        return 0;
}

static int read_mounts(json_object *object, DmemMounts *mounts) {
        json_object *array;
        size_t n;
        int r;

        r = get_array(object, "mounts", &array);
        if (r < 0)
                return r;
        n = json_object_array_length(array);
        mounts->items = new0(DmemMount, n > 0 ? n : 1);
        if (!mounts->items)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = read_mount(json_object_array_get_idx(array, i),
                               &mounts->items[mounts->n_items++]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Codes that state_judge() has; a Finding holds static text only. */
static const char *known_code(const char *code) {
        static const char *const codes[] = {
                "argument-invalid", "granted-less",      "granted-more",      "granted-unknown",
                "hugepages-less",   "module-not-loaded", "no-kernel-support", "not-applied",
                "poisoned",         "reboot-required",
        };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (streq(code, codes[i]))
                        return codes[i];
        return "unknown"; /* of a later dmemd; its message says what it is */
}

static Severity read_severity(const char *text) {
        for (Severity severity = 0; severity < _SEVERITY_MAX; severity++)
                if (streq(severity_to_string(severity), text))
                        return severity;
        return SEVERITY_WARNING;
}

static int read_finding(json_object *object, Findings *findings) {
        _cleanup_free_ char *code = NULL, *severity = NULL, *text = NULL;
        json_object *node_value = get(object, "node");
        uint64_t node = 0;
        int r;

        r = get_text(object, "code", &code);
        if (r < 0)
                return r;
        r = get_text(object, "severity", &severity);
        if (r < 0)
                return r;
        r = get_text(object, "message", &text);
        if (r < 0)
                return r;
        if (node_value && (read_bytes(node_value, &node) < 0 || node > INT_MAX))
                return -EBADMSG;
        return findings_add(findings, known_code(code), read_severity(severity),
                            node_value ? (int)node : -1, "%s", text);
}

static int read_findings(json_object *object, Findings *findings) {
        json_object *array;
        size_t n;
        int r;

        r = get_array(object, "findings", &array);
        if (r < 0)
                return r;
        n = json_object_array_length(array);
        for (size_t i = 0; i < n; i++) {
                r = read_finding(json_object_array_get_idx(array, i), findings);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_state(json_object *object, Status *s) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = get_text(object, "state", &text);
        if (r < 0)
                return r;
        for (State state = 0; state < _STATE_MAX; state++)
                if (streq(state_to_string(state), text)) {
                        s->state = state;
                        return 0;
                }
        return -EBADMSG;
}

static int read_backend(json_object *object, Status *s) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = get_maybe_text(object, "backend", &text);
        if (r < 0 || !text)
                return r;
        if (backend_from_string(text, &s->backend) < 0)
                return -EBADMSG;
        s->has_backend = true;
        return 0;
}

static int read_configured(json_object *object, Status *s) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = get_strings(object, "configured", &s->configured);
        if (r < 0)
                return r;
        r = get_maybe_text(object, "configured_source", &text);
        if (r < 0 || !text)
                return r;
        for (ConfiguredSource source = 0; source < _CONFIGURED_SOURCE_MAX; source++) {
                const char *name = configured_source_to_string(source);

                if (name && streq(name, text))
                        s->configured_source = source;
        }
        return 0;
}

static int read_sums(json_object *object, Status *s) {
        const struct {
                const char *key;
                MaybeBytes *value;
        } numbers[] = {
                { "requested_bytes", &s->requested },
                { "granted_bytes", &s->granted },
                { "used_bytes", &s->used },
                { "free_bytes", &s->free },
                { "poisoned_bytes", &s->poisoned },
                { "metadata_saved_bytes", &s->metadata_saved },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                r = get_maybe_bytes(object, numbers[i].key, numbers[i].value);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_status(json_object *object, Status *s) {
        json_object *version = get(object, "version"), *reboot = get(object, "reboot_required");
        int r;

        if (!json_object_is_type(version, json_type_int) ||
            json_object_get_int64(version) != STATUS_VERSION ||
            !json_object_is_type(reboot, json_type_boolean))
                return -EBADMSG;
        s->reboot_required = json_object_get_boolean(reboot);
        r = get_text(object, "source", &s->source);
        if (r < 0)
                return r;
        r = read_state(object, s);
        if (r < 0)
                return r;
        r = read_backend(object, s);
        if (r < 0)
                return r;
        r = read_configured(object, s);
        if (r < 0)
                return r;
        r = get_strings(object, "booted", &s->booted);
        if (r < 0)
                return r;
        r = read_sums(object, s);
        if (r < 0)
                return r;
        r = read_nodes(object, s);
        if (r < 0)
                return r;
        r = read_mounts(object, &s->mounts);
        if (r < 0)
                return r;
        r = read_findings(object, &s->findings);
        if (r < 0)
                return r;
        return get_text(object, "advice", &s->advice);
}

static json_object *parse_text(const char *text) {
        json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
        json_object *object;
        size_t size = strlen(text);

        if (!tokener || size > ROOT_FILE_MAX) {
                if (tokener)
                        json_tokener_free(tokener);
                return NULL;
        }
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        object = json_tokener_parse_ex(tokener, text, (int)size + 1);
        if (json_tokener_get_error(tokener) != json_tokener_success && object) {
                (void)json_object_put(object);
                object = NULL;
        }
        json_tokener_free(tokener);
        return object;
}

int status_parse(const char *text, Status **ret) {
        _cleanup_(json_object_putp) json_object *object = parse_text(text);
        _cleanup_(status_freep) Status *s = NULL;
        int r;

        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        s = new0(Status, 1);
        if (!s)
                return -ENOMEM;
        r = read_status(object, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}
