/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/grub-config.h"
#include "plan/cmdline.h"
#include "test.h"

/* What grub-mkconfig of Debian 12 makes of two kernels, cut down to what is read. */
#define HEADER                                                                                     \
        "### BEGIN /etc/grub.d/00_header ###\n"                                                    \
        "if [ -s $prefix/grubenv ]; then\n  set have_grubenv=true\n  load_env\nfi\n"               \
        "if [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\n"                      \
        "   set next_entry=\nelse\n   set default=\"DEFAULT\"\nfi\n"                               \
        "function savedefault {\n  if [ -z \"${boot_once}\" ]; then\n"                             \
        "    saved_entry=\"${chosen}\"\n    save_env saved_entry\n  fi\n}\n"                       \
        "### END /etc/grub.d/00_header ###\n"
/* clang-format off */
#define ENTRY(title, id)                                                                           \
        "menuentry '" title "' --class debian --class os $menuentry_id_option '" id "' {\n"        \
        "\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi\n"                   \
        "\techo\t'Loading Linux ...'\n"
#define END "\tinitrd\t/boot/initrd.img\n}\n"
#define LINUX                                                                                      \
        "### BEGIN /etc/grub.d/10_linux ###\n"                                                     \
        ENTRY("Debian GNU/Linux", "gnulinux-simple-A")                                             \
        "\tlinux\t/boot/vmlinuz-6.12-b root=UUID=A ro  dmem=0:4G quiet\n" END                      \
        "submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-A' {\n"                \
        ENTRY("Debian, with Linux 6.12-b", "gnulinux-6.12-b-advanced-A")                           \
        "\tlinux\t/boot/vmlinuz-6.12-b root=UUID=A ro  dmem=0:4G quiet\n" END                      \
        ENTRY("Debian, with Linux 6.12-b (d\xc3\xa9pannage)", "gnulinux-6.12-b-recovery-A")        \
        "\tlinux\t/boot/vmlinuz-6.12-b root=UUID=A ro \n" END                                      \
        ENTRY("Debian, with Linux 6.1-a", "gnulinux-6.1-a-advanced-A")                             \
        "\tlinux\t/boot/vmlinuz-6.1-a root=UUID=A ro  dmem=0:4G quiet\n" END                       \
        "}\n### END /etc/grub.d/10_linux ###\n"
/* clang-format on */
#define MEMTEST                                                                                    \
        "### BEGIN /etc/grub.d/20_memtest86+ ###\n"                                                \
        "if [ \"$grub_platform\" = efi ]; then\nmenuentry \"Memory test\" {\n"                     \
        "  linux /boot/memtest86+x64.efi\n}\nfi\n### END /etc/grub.d/20_memtest86+ ###\n"
#define CUSTOM                                                                                     \
        "### BEGIN /etc/grub.d/40_custom ###\n"                                                    \
        "menuentry \"Mine\" --unrestricted --id mine {\n"                                          \
        "  linux /boot/vmlinuz-mine \"dyndbg=file a.c +p; dmem=9G\" hugepages=3 -- dmem=2G\n}\n"   \
        "### END /etc/grub.d/40_custom ###\n"

/* HEADER with another value for `default`. */
static char *with_default(const char *text, const char *value) {
        const char *place = strstr(text, "DEFAULT");
        char *made = NULL;

        if (!place)
                return strdup(text);
        if (asprintf(&made, "%.*s%s%s", (int)(place - text), text, value,
                     place + strlen("DEFAULT")) < 0)
                abort();
        return made;
}

/* One line for each entry: mark of the default, kind, title, kernel, arguments. */
static char *describe(const BootEntries *entries) {
        static const char kinds[] = { 'n', 'r', 'o' };
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        for (size_t i = 0; i < entries->n_items; i++) {
                const BootEntry *e = entries->items + i;
                char *arguments = arguments_join(e->arguments);

                fprintf(f, "%s%c|%s|%s|%s\n", e->is_default ? "*" : "", kinds[e->kind], e->title,
                        e->kernel ? e->kernel : "-", arguments);
                free(arguments);
        }
        fclose(f);
        return text;
}

static void expect_entries(const char *text, const char *saved, int r, const char *expected) {
        BootEntries entries = { 0 };
        char *got;

        EXPECT_EQ(text, grub_config_parse("grub.cfg", text, strlen(text), saved, &entries), r);
        got = describe(&entries);
        EXPECT_STREQ(text, got, expected);
        free(got);
        boot_entries_done(&entries);
}

/* clang-format off */
#define ALL(a, b, c, d)                                                                            \
        a "n|Debian GNU/Linux|/boot/vmlinuz-6.12-b|dmem=0:4G\n"                                    \
        b "n|Debian, with Linux 6.12-b|/boot/vmlinuz-6.12-b|dmem=0:4G\n"                           \
        c "r|Debian, with Linux 6.12-b (d\xc3\xa9pannage)|/boot/vmlinuz-6.12-b|\n"                \
        d "n|Debian, with Linux 6.1-a|/boot/vmlinuz-6.1-a|dmem=0:4G\n"
/* clang-format on */

TEST(default_entry) {
        static const struct {
                const char *value, *saved, *expected;
        } table[] = {
                { "0", NULL, ALL("*", "", "", "") },
                { "1>0", NULL, ALL("", "*", "", "") },
                { "1>2", NULL, ALL("", "", "", "*") },
                { "1", NULL, ALL("", "*", "", "") },
                { "gnulinux-advanced-A>gnulinux-6.1-a-advanced-A", NULL, ALL("", "", "", "*") },
                { "Advanced options>Debian, with Linux 6.12-b", NULL, ALL("", "*", "", "") },
                { "Debian, with Linux 6.1-a", NULL, ALL("", "", "", "*") },
                { "gnulinux-advanced-A>gnulinux-6.12-b-recovery-A", NULL, ALL("", "", "*", "") },
                { "${saved_entry}", "1>2", ALL("", "", "", "*") },
                { "${saved_entry}", NULL, ALL("*", "", "", "") },
                { "${saved_entry}", "", ALL("*", "", "", "") },
                { "gone-with-the-kernel", NULL, ALL("*", "", "", "") },
                { "7", NULL, ALL("*", "", "", "") },
                { "99999999999999999999", NULL, ALL("*", "", "", "") },
                { "1>2>0", NULL, ALL("*", "", "", "") },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *text = with_default(HEADER LINUX, table[i].value);

                expect_entries(text, table[i].saved, 0, table[i].expected);
                free(text);
        }
}

TEST(other_entries) {
        char *text;

        text = with_default(HEADER LINUX MEMTEST CUSTOM, "mine");
        expect_entries(text, NULL, 0,
                       ALL("", "", "", "") "o|Memory test|/boot/memtest86+x64.efi|\n"
                                           "*o|Mine|/boot/vmlinuz-mine|hugepages=3\n");
        free(text);
        text = with_default(HEADER LINUX MEMTEST CUSTOM, "3");
        expect_entries(text, NULL, 0,
                       ALL("", "", "", "") "o|Memory test|/boot/memtest86+x64.efi|\n"
                                           "*o|Mine|/boot/vmlinuz-mine|hugepages=3\n");
        free(text);
}

TEST(syntax) {
        static const struct {
                const char *text;
                int r;
                const char *expected;
        } table[] = {
                { "", 0, "" },
                { "# menuentry x {\n", 0, "" },
                /* by hand, without a trace of grub-mkconfig */
                { "menuentry a { linux /k dmem=1G; }", 0, "*n|a|/k|dmem=1G\n" },
                { "menuentry a {\n linux /k dmem=1G # dmem=2G\n}", 0, "*n|a|/k|dmem=1G\n" },
                { "menuentry a {\n linux /k \\\n dmem=1G\n}", 0, "*n|a|/k|dmem=1G\n" },
                { "menuentry a {\n linux /k d'mem='\"1G\"\n}", 0, "*n|a|/k|dmem=1G\n" },
                { "menuentry a {\n linux /k \"x dmem=1G\"\n}", 0, "*n|a|/k|\n" },
                { "menuentry a {\n linux /k ${x} $y dmem=1G\n}", 0, "*n|a|/k|dmem=1G\n" },
                { "menuentry a {\r\n linux /k dmem=1G\r\n}\r\n", 0, "*n|a|/k|dmem=1G\n" },
                { "menuentry 'a b' {\n linux16 /k\n}", 0, "*n|a b|/k|\n" },
                { "menuentry a {\n linuxefi /k\n}", 0, "*n|a|/k|\n" },
                { "menuentry a {\n chainloader +1\n}", 0, "*o|a|-|\n" },
                { "menuentry a {\n linux /boot/memtest86+.bin\n}", 0,
                  "*o|a|/boot/memtest86+.bin|\n" },
                { "menuentry a {\n linux\n}", 0, "*o|a|-|\n" },
                { "menuentry {\n linux /k\n}", 0, "*n||/k|\n" },
                { "menuentry a {\n if x; then linux /k dmem=1G; else linux /l; fi\n}", 0,
                  "*n|a|/k|dmem=1G\n*n|a|/l|\n" },
                { "menuentry a {\n linux /k systemd.unit=rescue.target\n}", 0, "*r|a|/k|\n" },
                { "linux /k dmem=1G\n", 0, "" },
                { "function f {\n linux /k\n}\nmenuentry a { linux /l\n}", 0, "*n|a|/l|\n" },
                /* not whole */
                { "menuentry a {\n linux /k", -EBADMSG, "" },
                { "menuentry 'a {\n linux /k\n}", -EBADMSG, "" },
                { "menuentry a {\n linux /k ${x\n}", -EBADMSG, "" },
                { "}", -EBADMSG, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                expect_entries(table[i].text, NULL, table[i].r, table[i].expected);
}

TEST(zeros_and_depth) {
        BootEntries entries = { 0 };
        char deep[300];

        /* A power failure may leave a file of the right length with nothing in it */
        EXPECT_EQ("zeros", grub_config_parse("g", "a\0b", 3, NULL, &entries), -EBADMSG);
        memset(deep, '{', sizeof(deep));
        EXPECT_EQ("deep", grub_config_parse("g", deep, sizeof(deep), NULL, &entries), -EBADMSG);
        EXPECT_EQ("untouched", entries.n_items, 0);
}

TEST(line_numbers) {
        static const char text[] = "\n\nmenuentry 'a\nb' {\n\n linux /k\n}\n";
        BootEntries entries = { 0 };

        EXPECT_EQ("parse", grub_config_parse("g", text, strlen(text), NULL, &entries), 0);
        EXPECT_EQ("entries", entries.n_items, 1);
        if (entries.n_items == 1)
                EXPECT_EQ("line", entries.items[0].line, 6);
        boot_entries_done(&entries);
}

TEST(environment_replace) {
#define HEAD "# GRUB Environment Block\n"
        static const struct {
                const char *text;
                int r;
                const char *after;
        } table[] = {
                { HEAD "kernelopts=root=/dev/a ro\n##########", 0,
                  HEAD "kernelopts=root=/dev/a ro dmem=4G\n##" },
                { HEAD "kernelopts=root=/dev/a ro dmem=0:1G,1:2G quiet\nsaved_entry=x\n", 0,
                  HEAD "kernelopts=root=/dev/a ro dmem=4G quiet\nsaved_entry=x\n#######" },
                { HEAD "a=b\\\nkernelopts=x\nkernelopts=ro\n###########", 0,
                  HEAD "a=b\\\nkernelopts=x\nkernelopts=ro dmem=4G\n###" },
                { HEAD "kernelopts=a\\\\b\n#########", 0, HEAD "kernelopts=a\\\\b dmem=4G\n#" },
                { HEAD "kernelopts=ro\n#######", -ENOSPC, NULL },
                { HEAD "kernelopts=ro\n", -ENOSPC, NULL },
                { HEAD "other=ro\n##########", -ENOENT, NULL },
                { HEAD "kernelopts=ro\n#####x####", -EBADMSG, NULL },
                { "kernelopts=ro\n##########", -EBADMSG, NULL },
                { "", -EBADMSG, NULL },
        };
        char dmem[] = "dmem=4G", *arguments[] = { dmem, NULL };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *text = NULL;

                EXPECT_EQ(table[i].text,
                          grub_environment_replace(table[i].text, "kernelopts", arguments, &text),
                          table[i].r);
                EXPECT_STREQ(table[i].text, text, table[i].after);
                if (text)
                        EXPECT_EQ(table[i].text, strlen(text), strlen(table[i].text));
                free(text);
        }
}

TEST(config_get) {
        static const struct {
                const char *text;
                int r;
                const char *value;
        } table[] = {
                { "set default=\"${next_entry}\"\nset default=\"${saved_entry}\"\n", 0,
                  "${saved_entry}" },
                { "if x; then set default='a b'; fi # set default=c\n", 0, "a b" },
                { "set default=1\nset defaults=2\n", 0, "1" },
                { "default=1\n", -ENOENT, NULL },
                { "set default='", -EBADMSG, NULL },
                { "", -ENOENT, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *value = NULL;

                EXPECT_EQ(table[i].text,
                          grub_config_get(table[i].text, strlen(table[i].text), "default", &value),
                          table[i].r);
                EXPECT_STREQ(table[i].text, value, table[i].value);
                free(value);
        }
}

TEST(environment) {
        static const struct {
                const char *text;
                int r;
                const char *value;
        } table[] = {
                { "# GRUB Environment Block\nsaved_entry=a>b\n####", 0, "a>b" },
                { "# GRUB Environment Block\nsaved_entry=a\\\\b\n####", 0, "a\\b" },
                { "saved_entry=", 0, "" },
                { "my_saved_entry=1\n", -ENOENT, NULL },
                { "", -ENOENT, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *value = NULL;

                EXPECT_EQ(table[i].text, grub_environment_get(table[i].text, "saved_entry", &value),
                          table[i].r);
                EXPECT_STREQ(table[i].text, value, table[i].value);
                free(value);
        }
}

TEST(foreign) {
        static const struct {
                const char *text;
                ShellText kind;
                const char *expected; /* LINE:WORD for each */
        } table[] = {
                { "GRUB_CMDLINE_LINUX=\"quiet dmem=1G\"\n", SHELL_TEXT_SETTINGS, "1:dmem=1G " },
                { "\nGRUB_CMDLINE_LINUX=dmem=1G", SHELL_TEXT_SETTINGS, "2:dmem=1G " },
                { "A='hugepagesz=1G hugepages=4'", SHELL_TEXT_SETTINGS,
                  "1:hugepagesz=1G 1:hugepages=4 " },
                { "A=\"a \\\n hugepages=4\"", SHELL_TEXT_SETTINGS, "2:hugepages=4 " },
                { "A=\"x\n # dmem=1G\"", SHELL_TEXT_SETTINGS, "2:dmem=1G " },
                { "#A=\"dmem=1G\"\n  # it's dmem=1G\nA=1 # dmem=2G\n", SHELL_TEXT_SETTINGS, "" },
                { "A=\"b#c dmem=1G\"", SHELL_TEXT_SETTINGS, "1:dmem=1G " },
                { "A=b#c\nB=dmem=1G", SHELL_TEXT_SETTINGS, "2:dmem=1G " },
                { "A=\"default_hugepagesz=1G foo.dmem=1G mydmem=1G dmemx=1\"", SHELL_TEXT_SETTINGS,
                  "" },
                { "A=\"\\\"dmem=1G\\\"\"", SHELL_TEXT_SETTINGS, "1:dmem=1G " },
                { "A=\"$A dmem=0:1G,1:2G\"; B=1", SHELL_TEXT_SETTINGS, "1:dmem=0:1G,1:2G " },
                { "don't\n# dmem=1G\nlinux /k dmem=1G\n", SHELL_TEXT_SCRIPT, "3:dmem=1G " },
                { "don't\n# dmem=1G\n", SHELL_TEXT_SETTINGS, "2:dmem=1G " },
                { "A=\"dmem=1G", SHELL_TEXT_SETTINGS, "1:dmem=1G " },
                { "A=\\", SHELL_TEXT_SETTINGS, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                ForeignArguments found = { 0 };
                char text[256] = "";

                EXPECT_EQ(table[i].text,
                          grub_find_arguments("f", table[i].text, table[i].kind, &found), 0);
                for (size_t j = 0; j < found.n_items; j++)
                        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u:%s ",
                                       found.items[j].line, found.items[j].word);
                EXPECT_STREQ(table[i].text, text, table[i].expected);
                foreign_arguments_done(&found);
        }
}

TEST_MAIN()

/* What is copied when something grows, at most. The linker sends the calls here. */
static size_t n_copied;

void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__real_realloc(void *p, size_t size);

void *__wrap_reallocarray(void *p, size_t n, size_t size) {
        n_copied += p ? n * size : 0;
        return __real_reallocarray(p, n, size);
}

void *__wrap_realloc(void *p, size_t size) {
        n_copied += p ? size : 0;
        return __real_realloc(p, size);
}

static void add_text(FILE *out, size_t n, bool long_command) {
        fprintf(out, "set default=0\n### BEGIN /etc/grub.d/10_linux ###\n");
        for (size_t i = 0; i < n; i++)
                fprintf(out,
                        long_command ? "echo a%zu \\\n" : "menuentry 'e%zu' {\n linux /k ro\n}\n",
                        i);
        fprintf(out, "\nmenuentry last {\n linux /k\n}\n### END /etc/grub.d/10_linux ###\n");
}

static size_t count_copied(size_t n, bool long_command) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        _cleanup_free_ char *text = NULL;
        size_t size, before;
        FILE *out;

        out = open_memstream(&text, &size);
        add_text(out, n, long_command);
        EXPECT_EQ("text", fclose(out), 0);
        before = n_copied;
        EXPECT_EQ("parse", grub_config_parse("grub.cfg", text, size, NULL, &entries), 0);
        EXPECT_EQ("entries", entries.n_items, long_command ? 1 : n + 1);
        return n_copied - before;
}

/* A file with twice the entries takes twice the work, and not four times. */
TEST(work_grows_with_the_file) {
        for (unsigned long_command = 0; long_command < 2; long_command++) {
                size_t one = count_copied(10000, long_command);
                size_t two = count_copied(20000, long_command);

                EXPECT_TRUE("counted", one > 10000);
                EXPECT_TRUE(long_command ? "words" : "entries", two < one * 3);
        }
}
