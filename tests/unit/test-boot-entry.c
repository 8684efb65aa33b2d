/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/boot-entry.h"
#include "test.h"

static char dmem[] = "dmem=4G", pages[] = "hugepages=4";
static char *no_arguments[] = { NULL };
static char *dmem_arguments[] = { dmem, NULL };
static char *page_arguments[] = { pages, NULL };

static BootEntry entry(BootEntryKind kind, bool is_default, char **arguments, DmemSupport support) {
        static char title[] = "title", path[] = "grub.cfg", kernel[] = "/k";

        return (BootEntry){
                .title = title,
                .path = path,
                .line = 7,
                .kernel = kernel,
                .kind = kind,
                .is_default = is_default,
                .arguments = arguments,
                .support = support,
        };
}

/* The codes of the findings, with the first letter of the severity. */
static void codes(const Findings *findings, char *buffer, size_t size) {
        buffer[0] = '\0';
        for (size_t i = 0; i < findings->n_items; i++)
                (void)snprintf(buffer + strlen(buffer), size - strlen(buffer), "%s%c:%s",
                               i > 0 ? " " : "", severity_to_string(findings->items[i].severity)[0],
                               findings->items[i].code);
}

TEST(entries_as_planned) {
        const BootEntry with = entry(BOOT_ENTRY_NORMAL, false, dmem_arguments, 0),
                        without = entry(BOOT_ENTRY_NORMAL, false, no_arguments, 0),
                        recovery = entry(BOOT_ENTRY_RECOVERY, false, no_arguments, 0),
                        bad_recovery = entry(BOOT_ENTRY_RECOVERY, false, dmem_arguments, 0),
                        other = entry(BOOT_ENTRY_OTHER, false, no_arguments, 0),
                        other_default = entry(BOOT_ENTRY_OTHER, true, no_arguments, 0),
                        default_recovery = entry(BOOT_ENTRY_RECOVERY, true, no_arguments, 0);
        const struct {
                const char *label;
                BootEntry items[3];
                size_t n_items;
                char *const *arguments;
                int r;
                const char *codes;
        } table[] = {
                { "one", { with }, 1, dmem_arguments, 1, "" },
                { "two, one of them not",
                  { with, without },
                  2,
                  dmem_arguments,
                  0,
                  "e:entry-differs" },
                { "recovery clean", { with, recovery }, 2, dmem_arguments, 1, "" },
                { "recovery not clean",
                  { with, bad_recovery },
                  2,
                  dmem_arguments,
                  0,
                  "e:entry-differs" },
                { "others do not matter", { with, other }, 2, dmem_arguments, 1, "" },
                { "but the default one does",
                  { with, other_default },
                  2,
                  dmem_arguments,
                  0,
                  "e:entry-differs" },
                { "recovery by default stays clean",
                  { with, default_recovery },
                  2,
                  dmem_arguments,
                  1,
                  "" },
                { "none wanted", { without, recovery }, 2, no_arguments, 1, "" },
                { "none wanted, one has", { with }, 1, no_arguments, 0, "e:entry-differs" },
                { "none wanted, NULL", { without }, 1, NULL, 1, "" },
                { "others wanted", { with }, 1, page_arguments, 0, "e:entry-differs" },
                { "only others", { other }, 1, dmem_arguments, 0, "e:no-entry" },
                { "no entries", { other }, 0, dmem_arguments, 0, "e:no-entry" },
                { "no entries, none wanted", { other }, 0, no_arguments, 1, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                BootEntries entries = { (BootEntry *)table[i].items, table[i].n_items };
                Findings findings = { 0 };
                char text[256];

                EXPECT_EQ(table[i].label,
                          boot_entries_check(&entries, table[i].arguments, &findings), table[i].r);
                EXPECT_EQ(table[i].label, boot_entries_check(&entries, table[i].arguments, NULL),
                          table[i].r);
                codes(&findings, text, sizeof(text));
                EXPECT_STREQ(table[i].label, text, table[i].codes);
                findings_done(&findings);
        }
}

TEST(kernels) {
        static const struct {
                const char *label;
                DmemSupport supports[3];
                size_t n_items;
                char *const *arguments;
                const char *codes;
        } table[] = {
                { "all know it", { DMEM_SUPPORT_YES, DMEM_SUPPORT_YES }, 2, dmem_arguments, "" },
                { "one does not",
                  { DMEM_SUPPORT_YES, DMEM_SUPPORT_NO },
                  2,
                  dmem_arguments,
                  "w:kernel-without-dmem" },
                { "none does",
                  { DMEM_SUPPORT_NO, DMEM_SUPPORT_NO },
                  2,
                  dmem_arguments,
                  "e:kernel-without-dmem" },
                { "one may",
                  { DMEM_SUPPORT_NO, DMEM_SUPPORT_UNKNOWN },
                  2,
                  dmem_arguments,
                  "w:kernel-without-dmem" },
                { "nobody can tell", { DMEM_SUPPORT_UNKNOWN }, 1, dmem_arguments, "" },
                { "not needed", { DMEM_SUPPORT_NO }, 1, page_arguments, "" },
                { "nothing planned", { DMEM_SUPPORT_NO }, 1, no_arguments, "" },
                { "no entries", { DMEM_SUPPORT_NO }, 0, dmem_arguments, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                BootEntry items[3];
                BootEntries entries = { items, table[i].n_items };
                Findings findings = { 0 };
                char text[256];

                for (size_t j = 0; j < ELEMENTSOF(items); j++)
                        items[j] =
                                entry(BOOT_ENTRY_NORMAL, false, no_arguments, table[i].supports[j]);
                EXPECT_EQ(table[i].label,
                          boot_entries_check_kernels(&entries, table[i].arguments, &findings), 0);
                codes(&findings, text, sizeof(text));
                EXPECT_STREQ(table[i].label, text, table[i].codes);
                findings_done(&findings);
        }
}

/* What may be planned must not be applied so, but the way back is open: boot_entries_check(). */
TEST(useless_default) {
        static const struct {
                const char *label;
                BootEntryKind kind;
                bool kernel;
                char *const *arguments;
                const char *codes;
        } table[] = {
                { "recovery", BOOT_ENTRY_RECOVERY, true, dmem_arguments, "e:no-entry" },
                { "recovery, huge pages", BOOT_ENTRY_RECOVERY, true, page_arguments, "e:no-entry" },
                { "recovery, none wanted", BOOT_ENTRY_RECOVERY, true, no_arguments, "" },
                { "another system", BOOT_ENTRY_OTHER, false, dmem_arguments, "e:no-entry" },
                { "an entry by hand", BOOT_ENTRY_OTHER, true, dmem_arguments, "" },
                { "a normal one", BOOT_ENTRY_NORMAL, true, dmem_arguments, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                BootEntry items[] = {
                        entry(BOOT_ENTRY_NORMAL, false, dmem_arguments, 0),
                        entry(table[i].kind, true, no_arguments, 0),
                };
                BootEntries entries = { items, ELEMENTSOF(items) };
                Findings findings = { 0 };
                char text[256];

                if (!table[i].kernel)
                        items[1].kernel = NULL;
                EXPECT_EQ(table[i].label,
                          boot_entries_check_kernels(&entries, table[i].arguments, &findings), 0);
                codes(&findings, text, sizeof(text));
                EXPECT_STREQ(table[i].label, text, table[i].codes);
                findings_done(&findings);
        }
}

TEST(default_one) {
        BootEntry items[] = {
                entry(BOOT_ENTRY_OTHER, false, no_arguments, 0),
                entry(BOOT_ENTRY_NORMAL, false, no_arguments, 0),
                entry(BOOT_ENTRY_NORMAL, true, dmem_arguments, 0),
        };
        BootEntries entries = { items, ELEMENTSOF(items) };

        EXPECT_TRUE("marked", boot_entries_find_default(&entries) == items + 2);
        items[2].is_default = false;
        EXPECT_TRUE("first normal", boot_entries_find_default(&entries) == items + 1);
        entries.n_items = 1;
        EXPECT_TRUE("none", boot_entries_find_default(&entries) == NULL);
}

TEST(foreign) {
        ForeignArguments foreign = { 0 };
        Findings findings = { 0 };

        EXPECT_EQ("add", foreign_arguments_add(&foreign, "etc/default/grub", 3, "dmem=1G quiet", 7),
                  0);
        EXPECT_EQ("check", foreign_arguments_check(&foreign, &findings), 0);
        EXPECT_EQ("one", findings.n_items, 1);
        if (findings.n_items == 1) {
                EXPECT_STREQ("code", findings.items[0].code, "foreign-argument");
                EXPECT_EQ("severity", findings.items[0].severity, SEVERITY_ERROR);
                EXPECT_TRUE("place", startswith(findings.items[0].message,
                                                "etc/default/grub, line 3: dmem=1G is") != NULL);
        }
        findings_done(&findings);
        foreign_arguments_done(&foreign);
}

TEST_MAIN()
