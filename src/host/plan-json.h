/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The plan as JSON: one shape for `dmemctl plan --json` and for GetPlan() on the bus
 *
 * The shape is conf/schema/plan.json: fixed keys in snake_case, sizes in bytes as integers, what
 * is unknown is null. A function that returns an object returns NULL when there is no memory; the
 * caller owns it and frees it with json_object_put().
 */

#include <json.h>

#include "basic/macro.h"
#include "host/host-plan.h"

static inline void json_object_putp(json_object **object) {
        if (*object)
                (void)json_object_put(*object);
}

json_object *host_plan_to_json(const HostPlan *hp);

/* Parts that other documents share. */
json_object *findings_to_json(const Findings *findings);
int strv_to_json(char *const *strings, json_object **ret); /* NULL becomes null */
int tristate_to_json(Tristate value, json_object **ret);   /* unknown becomes null */
json_object *json_new_bytes(uint64_t bytes);               /* unsigned 64 bit, unlike int64 */

/*
 * The text of @object, which is taken; NULL stands for no memory. @flags are those of json-c. JSON
 * is UTF-8: a byte in a path or a command line that is none becomes U+FFFD.
 * Returns 0 or -ENOMEM.
 */
int json_to_text(json_object *object, int flags, char **ret);

/* Adds @value, which it owns from then on, even on error. Returns 0, or -ENOMEM if it is NULL. */
int json_add(json_object *object, const char *key, json_object *value);
int json_append(json_object *array, json_object *value);

/* Adds text of any bytes; NULL becomes null. */
int json_add_bytes(json_object *object, const char *key, const char *data, size_t size);
