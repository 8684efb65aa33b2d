/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "plan/arguments.h"

/* More words than a plan ever has, and the NULL behind them. */
#define WORDS_MAX 8

DEFINE_CLEANUP(char **, strv_free);

typedef uint64_t (*node_value_t)(const PlanNode *n);

static uint64_t dmem_of(const PlanNode *n) {
        return n->dmem_bytes;
}

static uint64_t huge_2m_of(const PlanNode *n) {
        return n->huge_2m;
}

static uint64_t huge_1g_of(const PlanNode *n) {
        return n->huge_1g;
}

/* `PREFIX0:60G,1:62G` for the nodes whose value is not 0; *ret is NULL when all are. */
static int build_word(const Plan *plan, const char *prefix, node_value_t value, bool is_size,
                      char **ret) {
        _cleanup_free_ char *word = NULL;
        bool any = false;
        size_t size;
        FILE *f;

        f = open_memstream(&word, &size);
        if (!f)
                return -ENOMEM;
        fprintf(f, "%s", prefix);
        for (size_t i = 0; i < plan->n_nodes; i++) {
                uint64_t v = value(&plan->nodes[i]);
                char text[FORMAT_SIZE_MAX];

                if (v == 0)
                        continue;
                fprintf(f, "%s%u:", any ? "," : "", plan->nodes[i].id);
                if (is_size)
                        fprintf(f, "%s", format_size(text, v));
                else
                        fprintf(f, "%" PRIu64, v);
                any = true;
        }
        if (fclose(f) != 0)
                return -ENOMEM;
        *ret = any ? TAKE_PTR(word) : NULL;
        return 0;
}

static int push(char **words, size_t *n_words, const char *word) {
        assert(*n_words + 1 < WORDS_MAX);
        words[*n_words] = strdup(word);
        if (!words[*n_words])
                return -ENOMEM;
        (*n_words)++;
        return 0;
}

/* hugepages= counts pages of the hugepagesz= before it, so the two come together. */
static int push_huge(const Plan *plan, const char *size_word, node_value_t value, char **words,
                     size_t *n_words) {
        _cleanup_free_ char *word = NULL;
        int r;

        r = build_word(plan, "hugepages=", value, false, &word);
        if (r < 0 || !word)
                return r;
        r = push(words, n_words, size_word);
        if (r < 0)
                return r;
        r = push(words, n_words, word);
        return r < 0 ? r : 1;
}

int plan_build_arguments(const Plan *plan, bool optimize_vmemmap, char ***ret) {
        _cleanup_(strv_freep) char **words = NULL;
        _cleanup_free_ char *dmem = NULL;
        size_t n_words = 0;
        bool huge = false;
        int r;

        words = new0(char *, WORDS_MAX);
        if (!words)
                return -ENOMEM;

        r = build_word(plan, "dmem=", dmem_of, true, &dmem);
        if (r < 0)
                return r;
        if (dmem) {
                r = push(words, &n_words, dmem);
                if (r < 0)
                        return r;
        }
        r = push_huge(plan, "hugepagesz=1G", huge_1g_of, words, &n_words);
        if (r < 0)
                return r;
        huge = r > 0;
        r = push_huge(plan, "hugepagesz=2M", huge_2m_of, words, &n_words);
        if (r < 0)
                return r;
        huge = huge || r > 0;
        if (huge && optimize_vmemmap) {
                r = push(words, &n_words, "hugetlb_free_vmemmap=on");
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(words);
        return 0;
}
