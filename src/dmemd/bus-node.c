/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemd/bus.h"
#include "dmemd/log.h"

DEFINE_CLEANUP(char **, strv_free);

#define NODE_PATH_MAX (sizeof(BUS_NODE_PATH "/") + 3 * sizeof(unsigned))

static char *node_path(char buffer[static NODE_PATH_MAX], unsigned id) {
        (void)snprintf(buffer, NODE_PATH_MAX, BUS_NODE_PATH "/%u", id);
        return buffer;
}

/*
 * Takes only the one path that we made ourselves: not `node/00`. The node that is found lives as
 * long as the status, which does not change while a message is answered (see look_on_call()).
 */
static int find_node(sd_bus *bus, const char *path, const char *interface, void *userdata,
                     void **ret_found, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);
        char canonical[NODE_PATH_MAX];
        const StatusNode *node;
        const char *name;
        unsigned id;

        name = startswith(path, BUS_NODE_PATH "/");
        if (!name || parse_unsigned(name, &id) < 0)
                return 0;
        node = status_find_node(m->status, id);
        if (!node || !streq(path, node_path(canonical, id)))
                return 0;
        *ret_found = (void *)node;
        return 1;
}

static int enumerate_nodes(sd_bus *bus, const char *prefix, void *userdata, char ***ret_paths,
                           sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);
        _cleanup_(strv_freep) char **paths = NULL;

        paths = new0(char *, m->status->n_nodes + 1);
        if (!paths)
                return -ENOMEM;
        for (size_t i = 0; i < m->status->n_nodes; i++) {
                char path[NODE_PATH_MAX];

                paths[i] = strdup(node_path(path, m->status->nodes[i].id));
                if (!paths[i])
                        return -ENOMEM;
        }
        *ret_paths = TAKE_PTR(paths);
        return 0;
}

static int get_id(sd_bus *bus, const char *path, const char *interface, const char *property,
                  sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const StatusNode *node = ASSERT_PTR(userdata);

        return sd_bus_message_append(reply, "u", node->id);
}

static const struct {
        const char *name;
        size_t offset;
        bool emits;
} numbers[] = {
        { "RequestedBytes", offsetof(StatusNode, booted), true },
        { "SizeBytes", offsetof(StatusNode, granted), true },
        { "FreeBytes", offsetof(StatusNode, free), false },
        { "UsedBytes", offsetof(StatusNode, used), false },
        { "PoisonedBytes", offsetof(StatusNode, poisoned), true },
};

static MaybeBytes number_at(const StatusNode *node, size_t offset) {
        return *(const MaybeBytes *)((const char *)node + offset);
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const StatusNode *node = ASSERT_PTR(userdata);

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (streq(numbers[i].name, property))
                        return sd_bus_message_append(reply, "t",
                                                     bus_bytes(number_at(node, numbers[i].offset)));
        return -ENOENT;
}

static int get_regions(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const StatusNode *node = ASSERT_PTR(userdata);
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(tt)");
        if (r < 0)
                return r;
        for (size_t i = 0; i < node->n_regions; i++) {
                r = sd_bus_message_append(reply, "(tt)", node->regions[i].start,
                                          node->regions[i].end);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(reply);
}

static int get_cpus(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const StatusNode *node = ASSERT_PTR(userdata);

        return sd_bus_message_append(reply, "s", node->cpus ?: "");
}

static const sd_bus_vtable node_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "u", get_id, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("RequestedBytes", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SizeBytes", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("FreeBytes", "t", get_number, 0, 0),
        SD_BUS_PROPERTY("UsedBytes", "t", get_number, 0, 0),
        SD_BUS_PROPERTY("PoisonedBytes", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Regions", "a(tt)", get_regions, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Cpus", "s", get_cpus, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END
};

int bus_add_nodes(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, BUS_NODE_PATH, BUS_INTERFACE_NODE, node_vtable,
                                       find_node, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, BUS_NODE_PATH, enumerate_nodes, m);
}

static bool regions_equal(const StatusNode *a, const StatusNode *b) {
        return a->n_regions == b->n_regions &&
               (a->n_regions == 0 ||
                memcmp(a->regions, b->regions, a->n_regions * sizeof(DmemRange)) == 0);
}

static int tell_node(Manager *m, const StatusNode *old, const StatusNode *new) {
        const char *changed[ELEMENTSOF(numbers) + 2 + 1];
        char path[NODE_PATH_MAX];
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (numbers[i].emits && !bytes_equal(number_at(old, numbers[i].offset),
                                                     number_at(new, numbers[i].offset)))
                        changed[n++] = numbers[i].name;
        if (!regions_equal(old, new))
                changed[n++] = "Regions";
        if (!streq(old->cpus ?: "", new->cpus ?: ""))
                changed[n++] = "Cpus";
        changed[n] = NULL;
        if (n == 0)
                return 0;
        return sd_bus_emit_properties_changed_strv(m->bus, node_path(path, new->id),
                                                   BUS_INTERFACE_NODE, (char **)changed);
}

/*
 * A node that is gone cannot be asked for its interfaces any more, as the object manager of sd-bus
 * would do: the list has to be given.
 */
static int tell_removed(Manager *m, unsigned id) {
        char path[NODE_PATH_MAX];

        return sd_bus_emit_interfaces_removed(m->bus, node_path(path, id), BUS_INTERFACE_NODE,
                                              NULL);
}

void bus_tell_nodes(Manager *m) {
        char path[NODE_PATH_MAX];
        int r = 0;

        for (size_t i = 0; i < m->status->n_nodes && r >= 0; i++) {
                const StatusNode *new = &m->status->nodes[i];
                const StatusNode *old = status_find_node(m->told, new->id);

                r = old ? tell_node(m, old, new)
                        : sd_bus_emit_object_added(m->bus, node_path(path, new->id));
        }
        for (size_t i = 0; i < m->told->n_nodes && r >= 0; i++)
                if (!status_find_node(m->status, m->told->nodes[i].id))
                        r = tell_removed(m, m->told->nodes[i].id);
        if (r < 0)
                log_message(LOG_WARNING, "Cannot send signals of %s: %s", BUS_INTERFACE_NODE,
                            strerror(-r));
}
