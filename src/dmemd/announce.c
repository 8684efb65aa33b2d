/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemd/announce.h"
#include "dmemd/log.h"
#include "dmemd/runtime.h"

/* In $RUNTIME_DIRECTORY */
#define ANNOUNCED_FILE "announced"

/* Which findings are entries of their own is what the state says; see entry_for(). */
static bool counts_as_drift(const Finding *finding) {
        return finding->severity >= SEVERITY_WARNING && !streq(finding->code, "poisoned");
}

char *announce_summary(const Status *status) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        fprintf(f, "%s %" PRIu64 " %" PRIu64, state_to_string(status->state),
                status->requested.bytes, status->granted.bytes);
        for (size_t i = 0; status->state == STATE_DRIFT && i < status->findings.n_items; i++)
                if (counts_as_drift(&status->findings.items[i]))
                        fprintf(f, " %s:%d", status->findings.items[i].code,
                                status->findings.items[i].node);
        if (fclose(f) != 0)
                return NULL;
        return TAKE_PTR(text);
}

/* Bytes that were asked for and granted say nothing of a node that has too few huge pages. */
static bool is_about_reservation(const Finding *finding) {
        return finding->node < 0 || streq(finding->code, "granted-less") ||
               streq(finding->code, "granted-more");
}

/* The fields of an entry: what was asked for and granted, of one node or of the whole host. */
typedef struct Fields {
        char node[sizeof("DMEM_NODE=") + 3 * sizeof(int)];
        char requested[sizeof("DMEM_REQUESTED=") + 20];
        char granted[sizeof("DMEM_GRANTED=") + 20];
        char state[sizeof("DMEM_STATE=pending-reboot")];
        char *list[5];
} Fields;

static char *const *fields_fill(Fields *f, const Status *status, int node_id, bool with_bytes) {
        const StatusNode *node = node_id < 0 ? NULL : status_find_node(status, (unsigned)node_id);
        MaybeBytes requested = node ? node->booted : status->requested;
        MaybeBytes granted = node ? node->granted : status->granted;
        size_t n = 0;

        (void)snprintf(f->state, sizeof(f->state), "DMEM_STATE=%s", state_to_string(status->state));
        f->list[n++] = f->state;
        if (node_id >= 0) {
                (void)snprintf(f->node, sizeof(f->node), "DMEM_NODE=%d", node_id);
                f->list[n++] = f->node;
        }
        if (with_bytes && requested.known) {
                (void)snprintf(f->requested, sizeof(f->requested), "DMEM_REQUESTED=%" PRIu64,
                               requested.bytes);
                f->list[n++] = f->requested;
        }
        if (with_bytes && granted.known) {
                (void)snprintf(f->granted, sizeof(f->granted), "DMEM_GRANTED=%" PRIu64,
                               granted.bytes);
                f->list[n++] = f->granted;
        }
        f->list[n] = NULL;
        return f->list;
}

static size_t count_granted_nodes(const Status *status) {
        size_t n = 0;

        for (size_t i = 0; i < status->n_nodes; i++)
                if (status->nodes[i].granted.bytes > 0)
                        n++;
        return n;
}

static void announce_in_force(const Status *status) {
        char granted[FORMAT_SIZE_MAX], saved[FORMAT_SIZE_MAX];
        size_t n = count_granted_nodes(status);
        Fields fields;

        if (status->granted.bytes == 0) {
                log_event(LOG_NOTICE, MESSAGE_IN_FORCE, fields_fill(&fields, status, -1, true),
                          "The plan is in force: this boot has the arguments that are configured");
                return;
        }
        log_event(LOG_NOTICE, MESSAGE_IN_FORCE, fields_fill(&fields, status, -1, true),
                  "The plan is in force: %s reserved on %zu %s, %s of struct pages saved",
                  format_size_rounded(granted, status->granted.bytes), n, n == 1 ? "node" : "nodes",
                  format_size_rounded(saved, status->metadata_saved.bytes));
}

static void announce_degraded(const Status *status) {
        char poisoned[FORMAT_SIZE_MAX];
        Fields fields;

        if (status->poisoned.bytes == 0) {
                log_event(
                        LOG_WARNING, MESSAGE_DEGRADED, fields_fill(&fields, status, -1, true),
                        "The plan is in force, but memory that files have is poisoned or retired");
                return;
        }
        log_event(LOG_WARNING, MESSAGE_DEGRADED, fields_fill(&fields, status, -1, true),
                  "The plan is in force, but %s of the reserved memory are poisoned and out of use",
                  format_size_rounded(poisoned, status->poisoned.bytes));
}

/* One entry for each reason, so that those who read by node find what is about it. */
static void announce_drift(const Status *status) {
        Fields fields;
        size_t n = 0;

        for (size_t i = 0; i < status->findings.n_items; i++) {
                const Finding *finding = &status->findings.items[i];

                if (!counts_as_drift(finding))
                        continue;
                log_event(
                        LOG_WARNING, MESSAGE_DRIFT,
                        fields_fill(&fields, status, finding->node, is_about_reservation(finding)),
                        "Drift: %s", finding->message);
                n++;
        }
        if (n == 0)
                log_event(LOG_WARNING, MESSAGE_DRIFT, fields_fill(&fields, status, -1, true),
                          "Drift: %s", status->advice);
}

static void announce_state(const Status *status) {
        switch (status->state) {
        case STATE_IN_FORCE:
                announce_in_force(status);
                break;
        case STATE_DEGRADED:
                announce_degraded(status);
                break;
        case STATE_DRIFT:
                announce_drift(status);
                break;
        case STATE_PENDING_REBOOT:
                log_message(LOG_NOTICE, "The configured arguments take effect at the next boot");
                break;
        case STATE_NONE:
        default:
                log_message(LOG_INFO, "Nothing is reserved and nothing is configured");
        }
}

char *announce_load(void) {
        _cleanup_close_ int fd = -EBADF;
        char *text = NULL;

        fd = runtime_open();
        if (fd < 0 || root_read_text(fd, ANNOUNCED_FILE, &text) < 0)
                return NULL;
        return text;
}

static void save(const char *summary) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = runtime_open();
        if (fd == -ENOENT)
                return;
        r = fd < 0 ? fd : root_write_file(fd, ANNOUNCED_FILE, summary, strlen(summary), 0644);
        if (r < 0)
                log_message(LOG_WARNING,
                            "Cannot note what the journal was told in %s: %s; a restart will "
                            "repeat it",
                            getenv("RUNTIME_DIRECTORY"), strerror(-r));
}

void announce(const Status *status, char **told) {
        char *summary;

        summary = announce_summary(status);
        if (!summary || (*told && streq(*told, summary))) {
                free(summary);
                return;
        }
        announce_state(status);
        save(summary);
        free(*told);
        *told = summary;
}
