/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/plan-json.h"
#include "basic/utf8.h"

json_object *json_new_bytes(uint64_t bytes) {
        return json_object_new_uint64(bytes);
}

int json_to_text(json_object *object, int flags, char **ret) {
        _cleanup_(json_object_putp) json_object *owned = object;
        const char *text;

        text = owned ? json_object_to_json_string_ext(owned, flags | JSON_C_TO_STRING_NOSLASHESCAPE)
                     : NULL;
        *ret = text ? utf8_replace_invalid(text) : NULL;
        return *ret ? 0 : -ENOMEM;
}

int json_add(json_object *object, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                (void)json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int json_add_bytes(json_object *object, const char *key, const char *data, size_t size) {
        if (!data)
                return json_object_object_add(object, key, NULL) < 0 ? -ENOMEM : 0;
        return json_add(object, key, json_object_new_string_len(data, (int)size));
}

int json_append(json_object *array, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_array_add(array, value) < 0) {
                (void)json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* null, which json-c shows as a NULL pointer */
static int json_add_null(json_object *object, const char *key) {
        return json_object_object_add(object, key, NULL) < 0 ? -ENOMEM : 0;
}

int strv_to_json(char *const *strings, json_object **ret) {
        _cleanup_(json_object_putp) json_object *array = NULL;
        int r;

        if (!strings) {
                *ret = NULL;
                return 0;
        }
        array = json_object_new_array();
        if (!array)
                return -ENOMEM;
        for (char *const *s = strings; *s; s++) {
                r = json_append(array, json_object_new_string(*s));
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(array);
        return 0;
}

int tristate_to_json(Tristate value, json_object **ret) {
        json_object *object = NULL;

        if (value != TRISTATE_UNKNOWN) {
                object = json_object_new_boolean(value == TRISTATE_YES);
                if (!object)
                        return -ENOMEM;
        }
        *ret = object;
        return 0;
}

static int add_strv(json_object *object, const char *key, char *const *strings) {
        json_object *value;
        int r;

        r = strv_to_json(strings, &value);
        if (r < 0)
                return r;
        return value ? json_add(object, key, value) : json_add_null(object, key);
}

static int add_tristate(json_object *object, const char *key, Tristate tristate) {
        json_object *value;
        int r;

        r = tristate_to_json(tristate, &value);
        if (r < 0)
                return r;
        return value ? json_add(object, key, value) : json_add_null(object, key);
}

static int add_bytes_or_null(json_object *object, const char *key, bool known, uint64_t bytes) {
        return known ? json_add(object, key, json_new_bytes(bytes)) : json_add_null(object, key);
}

static int add_text_or_null(json_object *object, const char *key, const char *text) {
        return text ? json_add(object, key, json_object_new_string(text))
                    : json_add_null(object, key);
}

static int add_id_or_null(json_object *object, const char *key, int id) {
        return id >= 0 ? json_add(object, key, json_object_new_int(id))
                       : json_add_null(object, key);
}

static json_object *finding_to_json(const Finding *f) {
        _cleanup_(json_object_putp) json_object *object = NULL;

        object = json_object_new_object();
        if (!object || json_add(object, "code", json_object_new_string(f->code)) < 0 ||
            json_add(object, "severity", json_object_new_string(severity_to_string(f->severity))) <
                    0 ||
            add_id_or_null(object, "node", f->node) < 0 ||
            json_add(object, "message", json_object_new_string(f->message)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

json_object *findings_to_json(const Findings *findings) {
        _cleanup_(json_object_putp) json_object *array = NULL;

        array = json_object_new_array();
        if (!array)
                return NULL;
        for (size_t i = 0; i < findings->n_items; i++)
                if (json_append(array, finding_to_json(&findings->items[i])) < 0)
                        return NULL;
        return TAKE_PTR(array);
}

static int append_hugepages(json_object *array, uint64_t page_size, uint64_t count) {
        _cleanup_(json_object_putp) json_object *object = NULL;

        object = json_object_new_object();
        if (!object || json_add(object, "page_size", json_new_bytes(page_size)) < 0 ||
            json_add(object, "count", json_new_bytes(count)) < 0)
                return -ENOMEM;
        return json_append(array, TAKE_PTR(object));
}

static json_object *hugepages_to_json(const PlanNode *n) {
        _cleanup_(json_object_putp) json_object *array = NULL;

        array = json_object_new_array();
        if (!array || append_hugepages(array, 2 * MiB, n->huge_2m) < 0 ||
            append_hugepages(array, GiB, n->huge_1g) < 0)
                return NULL;
        return TAKE_PTR(array);
}

static json_object *node_to_json(const PlanNode *n) {
        _cleanup_(json_object_putp) json_object *object = NULL;

        object = json_object_new_object();
        if (!object || json_add(object, "id", json_object_new_int64(n->id)) < 0 ||
            add_bytes_or_null(object, "installed_bytes", n->installed_known, n->installed) < 0 ||
            add_bytes_or_null(object, "kernel_bytes", n->installed_known, n->kernel_bytes) < 0 ||
            json_add(object, "align_loss_bytes", json_new_bytes(n->align_loss)) < 0 ||
            json_add(object, "dmem_bytes", json_new_bytes(n->dmem_bytes)) < 0 ||
            json_add(object, "hugepages", hugepages_to_json(n)) < 0 ||
            json_add(object, "eligible", json_object_new_boolean(n->eligible)) < 0 ||
            add_text_or_null(object, "reason", n->reason) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *nodes_to_json(const Plan *plan) {
        _cleanup_(json_object_putp) json_object *array = NULL;

        array = json_object_new_array();
        if (!array)
                return NULL;
        for (size_t i = 0; i < plan->n_nodes; i++)
                if (json_append(array, node_to_json(&plan->nodes[i])) < 0)
                        return NULL;
        return TAKE_PTR(array);
}

static json_object *alternatives_to_json(const Plan *plan) {
        _cleanup_(json_object_putp) json_object *array = NULL;

        array = json_object_new_array();
        if (!array)
                return NULL;
        for (size_t i = 0; i < plan->n_alternatives; i++) {
                const PlanAlternative *a = &plan->alternatives[i];
                _cleanup_(json_object_putp) json_object *object = NULL;

                object = json_object_new_object();
                if (!object || json_add(object, "name", json_object_new_string(a->name)) < 0 ||
                    json_add(object, "metadata_bytes", json_new_bytes(a->metadata_bytes)) < 0 ||
                    json_append(array, TAKE_PTR(object)) < 0)
                        return NULL;
        }
        return TAKE_PTR(array);
}

static json_object *savings_to_json(const Plan *plan) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        uint64_t saved = plan->plain_bytes - plan->planned_bytes;

        object = json_object_new_object();
        if (!object || json_add(object, "plain_bytes", json_new_bytes(plan->plain_bytes)) < 0 ||
            json_add(object, "planned_bytes", json_new_bytes(plan->planned_bytes)) < 0 ||
            json_add(object, "saved_bytes", json_new_bytes(saved)) < 0 ||
            json_add(object, "alternatives", alternatives_to_json(plan)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

json_object *host_plan_to_json(const HostPlan *hp) {
        _cleanup_(json_object_putp) json_object *object = NULL;
        const Plan *plan = hp->plan;

        object = json_object_new_object();
        if (!object || json_add(object, "version", json_object_new_int(1)) < 0 ||
            json_add(object, "backend", json_object_new_string(backend_to_string(plan->backend))) <
                    0 ||
            json_add(object, "page_size", json_new_bytes(plan->page_size)) < 0 ||
            add_id_or_null(object, "boot_node", plan->boot_node) < 0 ||
            json_add(object, "nodes", nodes_to_json(plan)) < 0 ||
            add_strv(object, "arguments", plan->arguments) < 0 ||
            json_add(object, "savings", savings_to_json(plan)) < 0 ||
            json_add(object, "findings", findings_to_json(&plan->findings)) < 0 ||
            add_strv(object, "configured", hp->configured) < 0 ||
            add_strv(object, "booted", hp->booted) < 0 ||
            add_tristate(object, "changed", hp->changed) < 0 ||
            add_tristate(object, "reboot_required", hp->reboot_required) < 0)
                return NULL;
        return TAKE_PTR(object);
}
