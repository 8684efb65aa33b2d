/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>

#include "basic/size-util.h"
#include "plan/cmdline.h"
#include "plan/dmem-argument.h"
#include "plan/drift.h"
#include "plan/hugepages-argument.h"

void in_force_done(InForce *in_force) {
        for (size_t i = 0; i < in_force->n_nodes; i++)
                free(in_force->nodes[i].regions);
        free(in_force->nodes);
        free(in_force->pools);
        *in_force = (InForce){};
}

const DmemNode *in_force_find_node(const InForce *in_force, unsigned id) {
        for (size_t i = 0; i < in_force->n_nodes; i++)
                if (in_force->nodes[i].id == id)
                        return &in_force->nodes[i];
        return NULL;
}

const HugePool *in_force_find_pool(const InForce *in_force, unsigned node, uint64_t page_size) {
        for (size_t i = 0; i < in_force->n_pools; i++)
                if (in_force->pools[i].node == node && in_force->pools[i].page_size == page_size)
                        return &in_force->pools[i];
        return NULL;
}

uint64_t dmem_node_region_bytes(const DmemNode *node) {
        uint64_t bytes = 0;

        if (node->n_regions == 0)
                return node->size;
        for (size_t i = 0; i < node->n_regions; i++)
                bytes += node->regions[i].end - node->regions[i].start;
        return bytes;
}

const char *state_to_string(State state) {
        static const char *const names[_STATE_MAX] = {
                [STATE_NONE] = "none",         [STATE_PENDING_REBOOT] = "pending-reboot",
                [STATE_IN_FORCE] = "in-force", [STATE_DRIFT] = "drift",
                [STATE_DEGRADED] = "degraded",
        };

        assert(state < _STATE_MAX);
        return names[state];
}

/* What state_judge() has been given and what it has found so far. */
typedef struct Judge {
        const Plan *plan;
        char *const *configured, *const *booted;
        const InForce *in_force;
        DmemRequest request; /* what booted asks for */
        Findings *reasons;
        bool in_use; /* something is configured, booted or granted */
        bool pending_reboot, drift, degraded;
        bool not_applied; /* not even the next boot will be as planned */
} Judge;

/* Memory is set aside, but without class dmem nobody knows on which node. */
static bool is_hidden(const Judge *j) {
        return j->in_force->reserved && !j->in_force->class_present;
}

static bool is_in_use(const Judge *j) {
        if ((j->configured && *j->configured) || (j->booted && *j->booted))
                return true;
        return j->in_force->reserved || j->in_force->n_nodes > 0;
}

/* A plan with errors cannot be applied, and one that does not see its own regions is wrong. */
static int judge_applied(Judge *j) {
        _cleanup_free_ char *planned = NULL, *configured = NULL;

        if (!j->plan || !j->configured || is_hidden(j) ||
            findings_worst(&j->plan->findings) == SEVERITY_ERROR ||
            arguments_equal(j->plan->arguments, j->configured))
                return 0;

        planned = arguments_join(j->plan->arguments);
        configured = arguments_join(j->configured);
        if (!planned || !configured)
                return -ENOMEM;
        j->not_applied = true;
        return findings_add(j->reasons, "not-applied", j->in_use ? SEVERITY_WARNING : SEVERITY_INFO,
                            -1,
                            "The plan is not what the boot loader has: planned `%s`, configured "
                            "`%s`; look at `dmemctl plan --diff`, then run `dmemctl apply`",
                            planned, configured);
}

static int judge_booted(Judge *j) {
        _cleanup_free_ char *booted = NULL, *configured = NULL;

        if (!j->configured || !j->booted || arguments_equal(j->configured, j->booted))
                return 0;

        booted = arguments_join(j->booted);
        configured = arguments_join(j->configured);
        if (!booted || !configured)
                return -ENOMEM;
        j->pending_reboot = true;
        return findings_add(j->reasons, "reboot-required", SEVERITY_INFO, -1,
                            "Booted with `%s`, but the next boot gets `%s`; reboot to change over",
                            booted, configured);
}

static int judge_arguments(Judge *j) {
        int r;

        for (size_t i = 0; i < j->request.n_bad_items; i++) {
                const DmemBadItem *bad = &j->request.bad_items[i];

                j->drift = true;
                r = findings_add(j->reasons, "argument-invalid", SEVERITY_WARNING, -1,
                                 "The item `%s` of the booted dmem= %s, so the kernel has ignored "
                                 "it; correct it where the boot loader has it from",
                                 bad->text, bad->why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool asks_for_something(const DmemRequest *request) {
        for (size_t i = 0; i < request->n_items; i++)
                if (request->items[i].kind == DMEM_ITEM_LEAVE || request->items[i].size > 0)
                        return true;
        return false;
}

static int judge_support(Judge *j) {
        if (is_hidden(j)) {
                j->drift = true;
                return findings_add(j->reasons, "module-not-loaded", SEVERITY_WARNING, -1,
                                    "Memory is reserved, but there is no sys/class/dmem/ to say on "
                                    "which node and to hand it out; load the module dmemfs");
        }
        if (j->in_force->class_present || !asks_for_something(&j->request))
                return 0;
        j->drift = true;
        if (j->in_force->reserved_unknown)
                return findings_add(j->reasons, "granted-unknown", SEVERITY_WARNING, -1,
                                    "Booted with dmem=, but there is neither sys/class/dmem/ nor "
                                    "proc/iomem to tell whether anything is reserved; load the "
                                    "module dmemfs");
        return findings_add(j->reasons, "no-kernel-support", SEVERITY_WARNING, -1,
                            "Booted with dmem=, but nothing is reserved: this kernel does not "
                            "know dmem=, or `journalctl -k --grep=dmem:` says why not");
}

/* The memory of a node as far as the plan knows it; NULL if it does not. */
static const uint64_t *find_installed(const Judge *j, unsigned id) {
        for (size_t i = 0; j->plan && i < j->plan->n_nodes; i++)
                if (j->plan->nodes[i].id == id && j->plan->nodes[i].installed_known)
                        return &j->plan->nodes[i].installed;
        return NULL;
}

static bool is_named(const Judge *j, unsigned id) {
        for (size_t i = 0; i < j->request.n_items; i++)
                if (!j->request.items[i].all_nodes && j->request.items[i].node == id)
                        return true;
        return false;
}

static int judge_amount(Judge *j, unsigned id, uint64_t asked, uint64_t granted, bool less) {
        char asked_text[FORMAT_SIZE_MAX], granted_text[FORMAT_SIZE_MAX];

        j->drift = true;
        format_size(asked_text, asked);
        format_size(granted_text, granted);
        if (less)
                return findings_add(j->reasons, "granted-less", SEVERITY_WARNING, (int)id,
                                    "Node %u: %s were asked for, but only %s granted; "
                                    "`journalctl -k --grep=dmem:` says why, `dmemctl plan` what "
                                    "would fit",
                                    id, asked_text, granted_text);
        return findings_add(j->reasons, "granted-more", SEVERITY_WARNING, (int)id,
                            "Node %u: %s were asked for, but %s are reserved; something other "
                            "than dmem= reserves memory, see /proc/cmdline",
                            id, asked_text, granted_text);
}

/* @node is NULL if the kernel has granted this node nothing. */
static int judge_node(Judge *j, unsigned id, const DmemNode *node) {
        const uint64_t *installed = find_installed(j, id);
        DmemAsked asked = dmem_request_node(&j->request, id, installed);
        DmemAsked ranges = dmem_request_ranges(&j->request);
        uint64_t granted = node ? node->size : 0, most, loss;
        bool kernel_says = node && !node->requested_unknown;

        if (node && node->size_unknown) {
                j->drift = true;
                return findings_add(j->reasons, "granted-unknown", SEVERITY_WARNING, (int)id,
                                    "Node %u: neither size_bytes nor regions below "
                                    "sys/class/dmem/node%u/ can be read, so it cannot be told "
                                    "whether it got what was asked for",
                                    id, id);
        }
        /* Whether a node of which we know nothing has memory, only its name in an item tells. */
        if (!node && !installed && !is_named(j, id))
                return 0;
        if (!kernel_says && (!j->booted || !asked.known))
                return 0;

        if (__builtin_add_overflow(asked.loss, ranges.loss, &loss))
                loss = UINT64_MAX;
        if (__builtin_add_overflow(asked.bytes, ranges.bytes, &most))
                most = UINT64_MAX;
        if (kernel_says) {
                asked.bytes = most = node->requested;
                if (!j->booted)
                        loss = DMEM_SECTION_SIZE - 1;
        }
        if (granted < asked.bytes && asked.bytes - granted > loss)
                return judge_amount(j, id, asked.bytes, granted, true);
        if (granted > most)
                return judge_amount(j, id, most, granted, false);
        return 0;
}

static int judge_poisoned(Judge *j, const DmemNode *node) {
        char text[FORMAT_SIZE_MAX];

        if (node->usage_unknown || (node->poisoned == 0 && node->poison_events == 0))
                return 0;
        j->degraded = true;
        /* What a file still has is not withdrawn yet */
        if (node->poisoned == 0)
                return findings_add(j->reasons, "poisoned", SEVERITY_WARNING, (int)node->id,
                                    "Node %u: memory that files have is poisoned or retired; "
                                    "'dmemctl poisoned' lists it",
                                    node->id);
        return findings_add(j->reasons, "poisoned", SEVERITY_WARNING, (int)node->id,
                            "Node %u: %s are poisoned and withdrawn; have its memory modules "
                            "looked after",
                            node->id, format_size(text, node->poisoned));
}

/* The next id above @after that the kernel, the plan or an item speaks of; false at the end. */
static bool next_id(const Judge *j, int64_t after, unsigned *ret) {
        int64_t next = INT64_MAX;

        for (size_t i = 0; i < j->in_force->n_nodes; i++)
                if (j->in_force->nodes[i].id > after && j->in_force->nodes[i].id < next)
                        next = j->in_force->nodes[i].id;
        for (size_t i = 0; j->plan && i < j->plan->n_nodes; i++)
                if (j->plan->nodes[i].id > after && j->plan->nodes[i].id < next)
                        next = j->plan->nodes[i].id;
        for (size_t i = 0; i < j->request.n_items; i++) {
                const DmemItem *item = &j->request.items[i];

                if (!item->all_nodes && item->node > after && item->node < next)
                        next = item->node;
        }
        if (next == INT64_MAX)
                return false;
        *ret = (unsigned)next;
        return true;
}

/* A range that was refused as a whole belongs to no node. */
static int judge_ranges(Judge *j) {
        DmemAsked ranges = dmem_request_ranges(&j->request);
        char asked_text[FORMAT_SIZE_MAX], granted_text[FORMAT_SIZE_MAX];
        uint64_t granted = 0;

        for (size_t i = 0; i < j->in_force->n_nodes; i++) {
                if (j->in_force->nodes[i].size_unknown)
                        return 0;
                granted += j->in_force->nodes[i].size;
        }
        if (granted >= ranges.bytes - ranges.loss)
                return 0;
        j->drift = true;
        return findings_add(j->reasons, "granted-less", SEVERITY_WARNING, -1,
                            "%s were asked for with SIZE@ADDR items of dmem=, but only %s granted "
                            "in all; `journalctl -k --grep=dmem:` says why",
                            format_size(asked_text, ranges.bytes),
                            format_size(granted_text, granted));
}

static int judge_granted(Judge *j) {
        unsigned id;
        int r;

        if (!j->in_force->class_present)
                return 0;
        for (int64_t after = -1; next_id(j, after, &id); after = id) {
                const DmemNode *node = in_force_find_node(j->in_force, id);

                r = judge_node(j, id, node);
                if (r >= 0 && node)
                        r = judge_poisoned(j, node);
                if (r < 0)
                        return r;
        }
        return judge_ranges(j);
}

/* One page size of one node. More than was asked for is no drift: anybody may add some. */
static int judge_pool(Judge *j, const HugePagesAsked *asked) {
        const HugePool *pool = in_force_find_pool(j->in_force, asked->node, asked->page_size);
        char size[FORMAT_SIZE_MAX];

        format_size(size, asked->page_size);
        if (pool && pool->known && pool->total >= asked->count)
                return 0;
        j->drift = true;
        if (!pool || !pool->known)
                return findings_add(j->reasons, "granted-unknown", SEVERITY_WARNING,
                                    (int)asked->node,
                                    "Node %u: %" PRIu64 " huge pages of %s were asked for, but "
                                    "sys/devices/system/node/node%u/hugepages/ does not say how "
                                    "many there are",
                                    asked->node, asked->count, size, asked->node);
        return findings_add(j->reasons, "hugepages-less", SEVERITY_WARNING, (int)asked->node,
                            "Node %u: %" PRIu64 " huge pages of %s were asked for, but it has only "
                            "%" PRIu64 "; `systemctl reload-or-restart dmemd-setup.service` tries "
                            "again to get them, or plan fewer",
                            asked->node, asked->count, size, pool->total);
}

static int judge_pools(Judge *j) {
        _cleanup_free_ HugePagesAsked *asked = NULL;
        size_t n;
        int r;

        r = hugepages_parse(j->booted, &asked, &n);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = judge_pool(j, &asked[i]);
        return r;
}

static State choose_state(const Judge *j) {
        if (!j->in_use)
                return STATE_NONE;
        if (j->not_applied)
                return STATE_DRIFT;
        if (j->pending_reboot)
                return STATE_PENDING_REBOOT;
        if (j->drift)
                return STATE_DRIFT;
        return j->degraded ? STATE_DEGRADED : STATE_IN_FORCE;
}

int state_judge(const Plan *plan, char *const *configured, char *const *booted,
                const InForce *in_force, State *ret, Findings *reasons) {
        static int (*const steps[])(Judge *) = {
                judge_applied, judge_booted,  judge_arguments,
                judge_support, judge_granted, judge_pools,
        };
        Judge j = {
                .plan = plan,
                .configured = configured,
                .booted = booted,
                .in_force = in_force,
                .reasons = reasons,
        };
        int r;

        r = dmem_request_parse(booted, &j.request);
        if (r < 0)
                return r;
        j.in_use = is_in_use(&j);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(steps); i++)
                r = steps[i](&j);
        if (r >= 0)
                *ret = choose_state(&j);
        dmem_request_done(&j.request);
        return r < 0 ? r : 0;
}
