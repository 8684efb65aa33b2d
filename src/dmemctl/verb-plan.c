/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* plan: how the memory of this host would be divided, and what would change. Writes nothing. */

#include <inttypes.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemctl/table.h"
#include "dmemctl/verbs.h"
#include "host/bootloader.h"
#include "host/plan-json.h"
#include "plan/cmdline.h"

/* The parts of a node, in the order in which bar and table show them. */
typedef enum Part {
        PART_KERNEL,
        PART_ALIGNMENT,
        PART_HUGE_PAGES,
        PART_DMEM,
        _PART_MAX,
} Part;

static const struct {
        const char *name;
        const char *colour;
        const char *utf8;
        const char *ascii;
} parts[_PART_MAX] = {
        [PART_KERNEL] = { "kernel", "\x1b[34m", "█", "#" },
        [PART_ALIGNMENT] = { "lost to alignment", "\x1b[2m", "·", "." },
        [PART_HUGE_PAGES] = { "huge pages", "\x1b[33m", "▓", "h" },
        [PART_DMEM] = { "dmem", "\x1b[32m", "░", "=" },
};

/*
 * Whole MiB, rounded so that the parts add up to the installed memory as it is shown: all parts but
 * the kernel's are whole MiB anyway or are lost, so the kernel gets the difference.
 */
typedef struct Shares {
        uint64_t installed;
        uint64_t part[_PART_MAX];
} Shares;

static Shares shares_of(const PlanNode *n) {
        Shares s = {
                .installed = n->installed / MiB,
                .part = {
                        [PART_ALIGNMENT] = n->align_loss / MiB,
                        [PART_HUGE_PAGES] = n->huge_2m * 2 + n->huge_1g * 1024,
                        [PART_DMEM] = n->dmem_bytes / MiB,
                },
        };

        s.part[PART_KERNEL] =
                s.installed - s.part[PART_ALIGNMENT] - s.part[PART_HUGE_PAGES] - s.part[PART_DMEM];
        return s;
}

static Shares shares_sum(const Plan *plan) {
        Shares sum = {};

        for (size_t i = 0; i < plan->n_nodes; i++) {
                Shares s = shares_of(&plan->nodes[i]);

                sum.installed += s.installed;
                for (Part p = 0; p < _PART_MAX; p++)
                        sum.part[p] += s.part[p];
        }
        return sum;
}

/* A column that is zero for every node of the plan says nothing. */
static bool part_shown(const Shares *sum, Part part) {
        return part == PART_KERNEL || part == PART_DMEM || sum->part[part] > 0;
}

static int add_shares(Table *t, const Shares *sum, const Shares *s, bool known) {
        int r;

        r = known ? table_add(t, "%" PRIu64, s->installed) : table_add(t, "unknown");
        for (Part p = 0; p < _PART_MAX && r >= 0; p++) {
                if (!part_shown(sum, p))
                        continue;
                r = known ? table_add(t, "%" PRIu64, s->part[p]) : table_add(t, "-");
        }
        return r;
}

/* A bar of at most @width characters, its length in proportion to the largest node. */
static char *format_bar(const Dmemctl *d, const Shares *s, uint64_t largest, size_t width) {
        _cleanup_free_ char *text = NULL;
        size_t size, done = 0;
        uint64_t sum = 0;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (Part p = 0; p < _PART_MAX && largest > 0; p++) {
                size_t end;

                sum += s->part[p];
                end = (size_t)((double)sum / (double)largest * (double)width + 0.5);
                if (end > done && d->colour)
                        fputs(parts[p].colour, f);
                for (; done < end; done++)
                        fputs(d->utf8 ? parts[p].utf8 : parts[p].ascii, f);
                fputs(colour_off(d), f);
        }
        return fclose(f) == 0 ? TAKE_PTR(text) : NULL;
}

/* What the bars mean, in their own signs. */
static void print_bar_legend(const Dmemctl *d, const Shares *sum) {
        const char *separator = "";

        for (Part p = 0; p < _PART_MAX; p++) {
                if (!part_shown(sum, p))
                        continue;
                printf("%s%s%s%s %s", separator, d->colour ? parts[p].colour : "",
                       d->utf8 ? parts[p].utf8 : parts[p].ascii, colour_off(d), parts[p].name);
                separator = "   ";
        }
        putchar('\n');
}

static int add_header(Table *t, const Shares *sum) {
        static const char *const titles[_PART_MAX] = { "KERNEL", "ALIGNMENT", "HUGE PAGES",
                                                       "DMEM" };
        int r;

        r = table_add(t, "NODE");
        if (r >= 0)
                r = table_add(t, "INSTALLED");
        for (Part p = 0; p < _PART_MAX && r >= 0; p++)
                if (part_shown(sum, p))
                        r = table_add(t, "%s", titles[p]);
        return r < 0 ? r : table_add(t, "%s", "");
}

/* The last cell of a node's row: its bar on a terminal, and why it is left alone. */
static int add_remark(const Dmemctl *d, Table *t, const PlanNode *n, uint64_t largest,
                      size_t width) {
        Shares s = shares_of(n);
        _cleanup_free_ char *bar = NULL;

        if (width > 0) {
                bar = format_bar(d, &s, largest, width);
                if (!bar)
                        return -ENOMEM;
        }
        return table_add(t, "%s%s%s", bar ? bar : "", bar && bar[0] && n->reason ? " " : "",
                         n->reason ? n->reason : "");
}

static int add_nodes(const Dmemctl *d, Table *t, const Plan *plan, const Shares *sum,
                     size_t bar_width) {
        uint64_t largest = 0;
        int r = 0;

        for (size_t i = 0; i < plan->n_nodes; i++)
                if (plan->nodes[i].installed / MiB > largest)
                        largest = plan->nodes[i].installed / MiB;
        for (size_t i = 0; i < plan->n_nodes && r >= 0; i++) {
                const PlanNode *n = &plan->nodes[i];
                Shares s = shares_of(n);

                r = table_add(t, "%u", n->id);
                if (r >= 0)
                        r = add_shares(t, sum, &s, n->installed_known);
                if (r >= 0)
                        r = add_remark(d, t, n, largest, bar_width);
        }
        return r;
}

static int build_table(const Dmemctl *d, const Plan *plan, const Shares *sum, size_t bar_width,
                       Table *t) {
        int r;

        t->n_columns = 3;
        for (Part p = 0; p < _PART_MAX; p++)
                t->n_columns += part_shown(sum, p);
        t->left = 1U << (t->n_columns - 1);
        r = add_header(t, sum);
        if (r >= 0)
                r = add_nodes(d, t, plan, sum, bar_width);
        if (r >= 0)
                r = table_add(t, "all");
        if (r >= 0)
                r = add_shares(t, sum, sum, true);
        return r < 0 ? r : table_add(t, "%s", "");
}

/* Room for the bars on this terminal; none if too little is left to show anything. */
static size_t bar_width(const Dmemctl *d, const Table *t) {
        size_t taken = table_width(t, t->n_columns - 1);
        enum {
                NARROWEST = 10,
                WIDEST = 50
        };

        if (!d->terminal || d->columns < taken + NARROWEST)
                return 0;
        return d->columns - taken < WIDEST ? d->columns - taken : WIDEST;
}

static int print_table(const Dmemctl *d, const Plan *plan) {
        _cleanup_(table_done) Table plain = {}, t = {};
        Shares sum = shares_sum(plan);
        size_t width;
        int r;

        /* Once without bars to see how much room they have. */
        r = build_table(d, plan, &sum, 0, &plain);
        if (r < 0)
                return r;
        width = bar_width(d, &plain);
        r = build_table(d, plan, &sum, width, &t);
        if (r < 0)
                return r;

        if (d->legend)
                table_print(&t, 0, 1, colour_bold(d), colour_off(d));
        table_print(&t, 1, plan->n_nodes, "", "");
        if (!d->legend)
                return 0;
        if (plan->n_nodes > 1)
                table_print(&t, 1 + plan->n_nodes, 1, colour_dim(d), colour_off(d));
        printf("\nMiB; each line adds up to what is installed.");
        if (width > 0) {
                printf("  ");
                print_bar_legend(d, &sum);
        } else
                putchar('\n');
        return 0;
}

/* The arguments in one line, or what their absence means. */
static int print_arguments(const Dmemctl *d, const char *title, char *const *arguments,
                           char *const *planned) {
        _cleanup_free_ char *line = NULL;
        const char *text;

        if (arguments) {
                line = arguments_join(arguments);
                if (!line)
                        return -ENOMEM;
        }
        text = !arguments                                                     ? "not known"
               : planned && planned[0] && arguments_equal(arguments, planned) ? "the same"
               : line[0] == '\0'                                              ? "none"
                                                                              : line;
        printf("  %-12s%s%s%s\n", title, planned ? "" : colour_bold(d), text,
               planned ? "" : colour_off(d));
        return 0;
}

static void print_savings(const Plan *plan) {
        char text[FORMAT_SIZE_MAX];

        printf("\nWhat the kernel spends on descriptions of memory (struct page), if the guests "
               "have\n");
        for (size_t i = 0; i < plan->n_alternatives; i++) {
                const PlanAlternative *a = &plan->alternatives[i];

                printf("  %-16s%8s\n", streq(a->name, "plain") ? "plain pages" : a->name,
                       format_size_rounded(text, a->metadata_bytes));
        }
        printf("  %-16s%8s", "this plan", format_size_rounded(text, plan->planned_bytes));
        printf(", %s saved\n", format_size_rounded(text, plan->plain_bytes - plan->planned_bytes));
}

static size_t count_errors(const Findings *findings) {
        size_t n = 0;

        for (size_t i = 0; i < findings->n_items; i++)
                n += findings->items[i].severity == SEVERITY_ERROR;
        return n;
}

/* Nobody knows what the next boot gets: why not. */
static void print_unknown(const Dmemctl *d, const Policy *policy) {
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
        _cleanup_free_ char *why = NULL;

        if (boot_loader_find(d->root_fd, policy, &loader) >= 0) {
                const char *generated = boot_loader_generated(loader);

                printf("\nWhat the next boot gets is not known: which entry boots by default "
                       "cannot be made out%s%s.\n",
                       generated ? " from /" : "", generated ? generated : "");
                return;
        }
        why = boot_loader_explain(d->root_fd, policy);
        printf("\nWhat the next boot gets is not known (%s).\n", why ? why : "no memory");
}

/* The last line: what to do now. */
static void print_advice(const Dmemctl *d, const HostPlan *hp) {
        if (count_errors(&hp->plan->findings) > 0)
                printf("\n%sThis plan cannot be applied; settle the errors above first.%s\n",
                       colour_error(d), colour_off(d));
        else if (hp->changed == TRISTATE_UNKNOWN)
                print_unknown(d, hp->policy);
        else if (hp->changed == TRISTATE_YES)
                printf("\nTo make it so: `dmemctl apply` as root, then reboot.\n");
        else if (hp->reboot_required == TRISTATE_YES)
                printf("\nThe boot loader has this plan already; it takes effect at the next "
                       "boot.\n");
        else
                printf("\n%sNothing to do.%s\n", colour_good(d), colour_off(d));
}

static int print_plan(const Dmemctl *d, const HostPlan *hp) {
        const Plan *plan = hp->plan;
        int r;

        if (plan->n_nodes > 0) {
                r = print_table(d, plan);
                if (r < 0)
                        return r;
                putchar('\n');
        }
        printf("Boot arguments (Backend=%s)\n", backend_to_string(plan->backend));
        r = print_arguments(d, "planned", plan->arguments, NULL);
        if (r >= 0)
                r = print_arguments(d, "next boot", hp->configured, plan->arguments);
        if (r >= 0)
                r = print_arguments(d, "this boot", hp->booted, plan->arguments);
        if (r < 0)
                return r;
        if (plan->planned_bytes < plan->plain_bytes)
                print_savings(plan);
        if (plan->findings.n_items > 0) {
                printf("\nFindings\n");
                print_findings(d, &plan->findings);
        }
        if (d->legend)
                print_advice(d, hp);
        return 0;
}

/*
 * Lengths of the longest common subsequences of the tails of @a and @b: the words that stay. A
 * matrix of (n_a + 1) * (n_b + 1); a command line has few words.
 */
static size_t *common_lengths(char *const *a, size_t n_a, char *const *b, size_t n_b) {
        size_t *common = new0(size_t, (n_a + 1) * (n_b + 1));

        if (!common)
                return NULL;
        for (size_t i = n_a; i-- > 0;)
                for (size_t j = n_b; j-- > 0;) {
                        size_t down = common[(i + 1) * (n_b + 1) + j];
                        size_t right = common[i * (n_b + 1) + j + 1];

                        if (streq(a[i], b[j]))
                                common[i * (n_b + 1) + j] = common[(i + 1) * (n_b + 1) + j + 1] + 1;
                        else
                                common[i * (n_b + 1) + j] = down > right ? down : right;
                }
        return common;
}

/* The difference word by word, as diff -u shows lines; nothing when there is none. */
static int print_diff(const Dmemctl *d, const char *from, char *const *a, char *const *b) {
        size_t n_a = strv_length(a), n_b = strv_length(b), i = 0, j = 0;
        _cleanup_free_ size_t *common = NULL;

        if (arguments_equal(a, b))
                return 0;
        common = common_lengths(a, n_a, b, n_b);
        if (!common)
                return -ENOMEM;
        printf("%s--- %s\n+++ planned%s\n", colour_bold(d), from, colour_off(d));
        while (i < n_a || j < n_b) {
                if (i < n_a && j < n_b && streq(a[i], b[j])) {
                        printf(" %s\n", a[i]);
                        i++;
                        j++;
                } else if (i < n_a && (j == n_b || common[(i + 1) * (n_b + 1) + j] >=
                                                           common[i * (n_b + 1) + j + 1]))
                        printf("%s-%s%s\n", colour_error(d), a[i++], colour_off(d));
                else
                        printf("%s+%s%s\n", colour_good(d), b[j++], colour_off(d));
        }
        return 0;
}

static int print_plan_diff(const Dmemctl *d, const HostPlan *hp) {
        if (hp->configured)
                return print_diff(d, "configured", hp->configured, hp->plan->arguments);
        message("what the next boot gets is not known, comparing with %s",
                hp->booted ? "this boot" : "nothing");
        return print_diff(d, hp->booted ? "booted" : "nothing", hp->booted, hp->plan->arguments);
}

int verb_plan(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(host_plan_freep) HostPlan *hp = NULL;
        size_t n_errors;
        int r;

        r = load_host_plan(d, &hp);
        if (r != 0)
                return r;
        pager_open(d);
        if (d->json != JSON_MODE_OFF)
                r = print_json(d, host_plan_to_json(hp));
        else if (d->diff)
                r = print_plan_diff(d, hp);
        else
                r = print_plan(d, hp);
        if (r < 0)
                return r;

        n_errors = count_errors(&hp->plan->findings);
        if (n_errors > 0) {
                /* Where the findings are on stdout and nobody may see it, say why we fail. */
                if (d->diff || d->json != JSON_MODE_OFF || !d->terminal)
                        for (size_t i = 0; i < hp->plan->findings.n_items; i++)
                                if (hp->plan->findings.items[i].severity == SEVERITY_ERROR)
                                        message("%s", hp->plan->findings.items[i].message);
                return EXIT_FAILURE;
        }
        /* What is not known may differ. */
        return d->detailed_exitcode && hp->changed != TRISTATE_NO ? EXIT_DIFFERS : EXIT_SUCCESS;
}
