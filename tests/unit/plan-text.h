/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Topologies and policies from short texts, for the tests of the plan
 *
 * A topology is words `ID:SIZE[LETTERS]`, as in `0:64G 1:64G 4:16Gn`:
 *     n  no CPUs          c  CPUs are not known
 *     u  memory unknown   e  memory estimated (meminfo)
 * The boot node is the first that has memory. A policy is the text of a configuration file.
 */

#include "basic/size-util.h"
#include "host/config.h"
#include "plan/plan.h"
#include "test.h"

static inline Topology *topology_from_text(const char *text) {
        Topology *t = new0(Topology, 1);
        char *copy = strdup(text), *rest = copy;

        t->page_size = 4096;
        t->boot_node = -1;
        t->nodes = new0(TopologyNode, 64);
        for (char *word; (word = strsep(&rest, " "));) {
                TopologyNode *n = &t->nodes[t->n_nodes];
                char *size = strchr(word, ':');
                size_t length;

                if (!size)
                        continue;
                *size++ = '\0';
                *n = (TopologyNode){ .source = MEMORY_ZONEINFO, .cpus = CPUS_SOME };
                for (length = strlen(size); strchr("ncue", size[length - 1]); length--) {
                        n->cpus = size[length - 1] == 'n'   ? CPUS_NONE
                                  : size[length - 1] == 'c' ? CPUS_UNKNOWN
                                                            : n->cpus;
                        n->source = size[length - 1] == 'u'   ? MEMORY_UNKNOWN
                                    : size[length - 1] == 'e' ? MEMORY_MEMINFO
                                                              : n->source;
                }
                size[length] = '\0';
                if (parse_unsigned(word, &n->id) < 0 || parse_size(size, &n->installed) < 0)
                        abort();
                if (n->source == MEMORY_UNKNOWN)
                        n->installed = 0;
                if (t->boot_node < 0 && n->installed > 0)
                        t->boot_node = (int)n->id;
                t->n_nodes++;
        }
        free(copy);
        return t;
}

/* NULL, and a failed check, if the text is no valid configuration. */
static inline Policy *policy_from_text(const char *label, const char *text) {
        Policy *p = policy_new();
        ConfigErrors errors = {};

        EXPECT_EQ(label, config_parse("/etc/dmemd/dmemd.conf", text, strlen(text), &errors, p), 0);
        EXPECT_EQ(label, errors.n_items, 0);
        for (size_t i = 0; i < errors.n_items; i++)
                fprintf(stderr, "line %u: %s\n", errors.items[i].line, errors.items[i].message);
        config_errors_done(&errors);
        return p;
}
