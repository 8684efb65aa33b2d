/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "basic/utf8.h"
#include "dmemd/bus.h"
#include "dmemd/log.h"
#include "dmemd/poison.h"
#include "host/ledger-file.h"
#include "host/status-json.h"
#include "plan/cmdline.h"

/* Properties: unpack from Status, pack into the reply. */

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", PROJECT_VERSION);
}

/* Empty while the configuration cannot be read. */
static const char *backend_name(const Status *s) {
        return s->has_backend ? backend_to_string(s->backend) : "";
}

static int get_backend(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        return sd_bus_message_append(reply, "s", backend_name(m->status));
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        return sd_bus_message_append(reply, "s", state_to_string(m->status->state));
}

static int get_reboot_required(sd_bus *bus, const char *path, const char *interface,
                               const char *property, sd_bus_message *reply, void *userdata,
                               sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        return sd_bus_message_append(reply, "b", m->status->reboot_required);
}

/* What a boot loader or a command line has may be any bytes; the bus takes none but UTF-8. */
static int append_words(sd_bus_message *reply, char *const *words) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (char *const *word = words; r >= 0 && word && *word; word++) {
                _cleanup_free_ char *text = utf8_replace_invalid(*word);

                r = text ? sd_bus_message_append_basic(reply, 's', text) : -ENOMEM;
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_configured(sd_bus *bus, const char *path, const char *interface,
                          const char *property, sd_bus_message *reply, void *userdata,
                          sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        return append_words(reply, m->status->configured);
}

static int get_booted(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        return append_words(reply, m->status->booted);
}

/* The properties that are a sum of bytes. The index is our own and goes into the vtable. */
static const struct {
        const char *name;
        size_t offset;
        bool emits; /* false: changes with every allocation, is read when it is wanted */
} sums[] = {
        { "TotalBytes", offsetof(Status, granted), true },
        { "FreeBytes", offsetof(Status, free), false },
        { "UsedBytes", offsetof(Status, used), false },
        { "PoisonedBytes", offsetof(Status, poisoned), true },
        { "MetadataSavedBytes", offsetof(Status, metadata_saved), true },
};

static MaybeBytes sum_at(const Status *s, size_t offset) {
        return *(const MaybeBytes *)((const char *)s + offset);
}

static int get_sum(sd_bus *bus, const char *path, const char *interface, const char *property,
                   sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        for (size_t i = 0; i < ELEMENTSOF(sums); i++)
                if (streq(sums[i].name, property))
                        return sd_bus_message_append(reply, "t",
                                                     bus_bytes(sum_at(m->status, sums[i].offset)));
        return -ENOENT;
}

static int get_poison_events(sd_bus *bus, const char *path, const char *interface,
                             const char *property, sd_bus_message *reply, void *userdata,
                             sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        return sd_bus_message_append(reply, "t", bus_bytes(poison_count(m)));
}

static int get_missed_events(sd_bus *bus, const char *path, const char *interface,
                             const char *property, sd_bus_message *reply, void *userdata,
                             sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        return sd_bus_message_append(reply, "t", poison_missed(m));
}

static int get_mounts(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(sst)");
        if (r < 0)
                return r;
        for (size_t i = 0; i < m->status->mounts.n_items; i++) {
                const DmemMount *mount = &m->status->mounts.items[i];

                r = sd_bus_message_append(reply, "(sst)", mount->where, mount->nodes,
                                          mount->page_size > 0 ? mount->page_size : BUS_UNKNOWN);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(reply);
}

/* Methods */

static int method_get_plan(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);
        const char *json;
        int r;

        r = manager_get_plan_json(m, &json);
        if (r == -ENODATA)
                return sd_bus_error_set(error, BUS_ERROR_NO_CONFIGURATION,
                                        "The configuration cannot be read: run 'dmemctl "
                                        "check-config', correct it and reload dmemd.service");
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(message, "s", json);
}

static int method_get_status(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *json = NULL;
        Manager *m = ASSERT_PTR(userdata);
        int r;

        r = status_format(m->status, &json);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(message, "s", json);
}

static int method_get_metrics(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *text = NULL;
        Manager *m = ASSERT_PTR(userdata);
        int r;

        r = manager_get_metrics(m, METRICS_OPENMETRICS, &text);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(message, "s", text);
}

static int append_poisoned(sd_bus_message *reply, const Ledger *l) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(tusts)");
        for (size_t i = 0; i < l->n_units && r >= 0; i++) {
                const LedgerUnit *unit = &l->units[i];

                r = sd_bus_message_append(reply, "(tusts)", unit->address, unit->node,
                                          unit_state_to_string(unit->state), unit->first_seen,
                                          unit_source_to_string(unit->source));
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int method_list_poisoned(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_donep) sd_bus_message *reply = NULL;
        Manager *m = ASSERT_PTR(userdata);
        int r;

        poison_look(m, BUS_MAX_AGE_USEC);
        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = append_poisoned(reply, poison_ledger(m));
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_get_ledger(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *text = NULL;
        Manager *m = ASSERT_PTR(userdata);
        size_t size;
        FILE *f;
        int r;

        poison_look(m, BUS_MAX_AGE_USEC);
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        r = ledger_write(poison_ledger(m), f);
        if (fclose(f) != 0)
                return -ENOMEM;
        return r < 0 ? r : sd_bus_reply_method_return(message, "s", text);
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Backend", "s", get_backend, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("RebootRequired", "b", get_reboot_required, 0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Configured", "as", get_configured, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Booted", "as", get_booted, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("TotalBytes", "t", get_sum, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("FreeBytes", "t", get_sum, 0, 0),
        SD_BUS_PROPERTY("UsedBytes", "t", get_sum, 0, 0),
        SD_BUS_PROPERTY("PoisonedBytes", "t", get_sum, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("PoisonEvents", "t", get_poison_events, 0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MissedEvents", "t", get_missed_events, 0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MetadataSavedBytes", "t", get_sum, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Mounts", "a(sst)", get_mounts, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_METHOD_WITH_ARGS("GetPlan", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json),
                                method_get_plan, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStatus", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json),
                                method_get_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListPoisoned", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(tusts)", units),
                                method_list_poisoned, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetLedger", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", lines),
                                method_get_ledger, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetMetrics", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", text),
                                method_get_metrics, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS(
                "Poisoned",
                SD_BUS_ARGS("t", address, "u", node, "t", size, "s", state, "s", source), 0),
        SD_BUS_SIGNAL_WITH_ARGS("StateChanged", SD_BUS_ARGS("s", old, "s", new), 0),
        SD_BUS_VTABLE_END
};

int bus_add_manager(Manager *m) {
        return sd_bus_add_object_vtable(m->bus, NULL, BUS_PATH, BUS_INTERFACE_MANAGER,
                                        manager_vtable, m);
}

/* Signals */

static bool mounts_equal(const DmemMounts *a, const DmemMounts *b) {
        if (a->n_items != b->n_items)
                return false;
        for (size_t i = 0; i < a->n_items; i++)
                if (!streq(a->items[i].where, b->items[i].where) ||
                    !streq(a->items[i].nodes, b->items[i].nodes) ||
                    a->items[i].page_size != b->items[i].page_size)
                        return false;
        return true;
}

static int tell_properties(Manager *m) {
        const Status *old = m->told, *new = m->status;
        const char *changed[8 + ELEMENTSOF(sums) + 1];
        size_t n = 0;

        if (!streq(backend_name(old), backend_name(new)))
                changed[n++] = "Backend";
        if (old->state != new->state)
                changed[n++] = "State";
        if (old->reboot_required != new->reboot_required)
                changed[n++] = "RebootRequired";
        if (!arguments_equal(old->configured, new->configured))
                changed[n++] = "Configured";
        if (!arguments_equal(old->booted, new->booted))
                changed[n++] = "Booted";
        if (!mounts_equal(&old->mounts, &new->mounts))
                changed[n++] = "Mounts";
        if (m->told_events != bus_bytes(poison_count(m)))
                changed[n++] = "PoisonEvents";
        if (m->told_missed != poison_missed(m))
                changed[n++] = "MissedEvents";
        m->told_events = bus_bytes(poison_count(m));
        m->told_missed = poison_missed(m);
        for (size_t i = 0; i < ELEMENTSOF(sums); i++)
                if (sums[i].emits &&
                    !bytes_equal(sum_at(old, sums[i].offset), sum_at(new, sums[i].offset)))
                        changed[n++] = sums[i].name;
        changed[n] = NULL;
        if (n == 0)
                return 0;
        return sd_bus_emit_properties_changed_strv(m->bus, BUS_PATH, BUS_INTERFACE_MANAGER,
                                                   (char **)changed);
}

void bus_tell(Manager *m) {
        int r;

        if (!m->bus)
                return;
        r = tell_properties(m);
        if (r >= 0 && m->told->state != m->status->state)
                r = sd_bus_emit_signal(m->bus, BUS_PATH, BUS_INTERFACE_MANAGER, "StateChanged",
                                       "ss", state_to_string(m->told->state),
                                       state_to_string(m->status->state));
        if (r < 0)
                log_message(LOG_WARNING, "Cannot send signals of %s: %s", BUS_INTERFACE_MANAGER,
                            strerror(-r));
        bus_tell_nodes(m);
}
