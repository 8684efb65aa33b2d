/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The daemon on the bus: name and interfaces org.dmemd1, see org.dmemd1(5)
 */

#include "dmemd/manager.h"

#define BUS_NAME "org.dmemd1"
#define BUS_PATH "/org/dmemd1"
#define BUS_NODE_PATH BUS_PATH "/node"
#define BUS_INTERFACE_MANAGER "org.dmemd1.Manager"
#define BUS_INTERFACE_NODE "org.dmemd1.Node"
#define BUS_ERROR_NO_CONFIGURATION "org.dmemd1.Error.NoConfiguration"

/* Several answers one after the other come from the same look at the host. */
#define BUS_MAX_AGE_USEC (UINT64_C(1000) * 1000)

/* What the bus says for a number that is not known, as systemd does. */
#define BUS_UNKNOWN UINT64_MAX

/*
 * Connects, adds the objects and asks for the name, which m->bus_named says that we have; without a
 * bus, tries again and again. If somebody else has the name, the event loop ends. Logs errors.
 * Returns 0, or a negative errno if we cannot even wait.
 */
int bus_start(Manager *m);

/* Adds the objects of the interfaces; used by bus_start(). */
int bus_add_manager(Manager *m);
int bus_add_nodes(Manager *m);

/* Says on the bus how @m->status differs from @m->told; nothing without a bus. */
void bus_tell(Manager *m);
void bus_tell_nodes(Manager *m);

static inline void sd_bus_message_donep(sd_bus_message **message) {
        sd_bus_message_unref(*message);
}

static inline uint64_t bus_bytes(MaybeBytes value) {
        return value.known ? value.bytes : BUS_UNKNOWN;
}

static inline bool bytes_equal(MaybeBytes a, MaybeBytes b) {
        return bus_bytes(a) == bus_bytes(b);
}
