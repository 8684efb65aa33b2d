/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "fuzz.h"
#include "host/bls-entry.h"
#include "host/grub-config.h"
#include "host/kernel-cmdline.h"
#include "plan/cmdline.h"

const char *const fuzz_seeds[] = {
        "# made by kernel-install\ntitle      Debian\nversion    6.12.1\nmachine-id 0a\n"
        "sort-key   debian\noptions    root=/dev/a ro dmem=1G quiet\nlinux      /0a/6.12.1/linux\n",
        "title Fedora (6.5.6) 39\r\nlinux /vmlinuz\r\noptions $kernelopts $tuned_params -- x\r\n"
        "grub_users $grub_users\r\n",
        "linux /l\noptions a\noptions\tdmem=1G hugepages=3\n\noptions hugepagesz=1G",
        "# GRUB Environment Block\nsaved_entry=a\nkernelopts=root=a\\\\b ro "
        "dmem=1G\nx=\\\ny\n#####",
        "timeout 3\ndefault  arch-*\nconsole-mode max\n",
        "# words\nroot=/dev/a\n  ro dmem=1G\n# end",
        "a-6.12.1~rc1^2+deb13+3-1.conf",
        "",
        NULL,
};

static char dmem[] = "dmem=0:4G", pages[] = "hugepages=4";
static char *planned[] = { dmem, pages, NULL }, *nothing[] = { NULL };

DEFINE_CLEANUP(char **, strv_free);

static void expect_arguments(const char *line, char *const *arguments) {
        _cleanup_(strv_freep) char **own = NULL;

        if (cmdline_extract(line, &own) < 0)
                abort();
        FUZZ_EXPECT(arguments_equal(own, arguments));
}

static void expect_entry(const char *text, BlsReader reader, char *const *arguments) {
        BlsEntry entry = { 0 };

        if (bls_entry_parse(text, reader, &entry) < 0)
                abort();
        /* Quotes that are not closed on their line join what no boot loader was meant to join */
        if ((entry.options || entry.kernel) && !strchr(text, '"'))
                expect_arguments(entry.options ? entry.options : "", arguments);
        FUZZ_EXPECT((entry.options || entry.kernel) == (entry.options_line > 0));
        bls_entry_done(&entry);
}

static void check_entry(const char *text, BlsReader reader) {
        _cleanup_free_ char *with = NULL, *again = NULL, *without = NULL, *clean = NULL;

        if (bls_entry_replace(text, reader, planned, NULL, &with) < 0 ||
            bls_entry_replace(with, reader, planned, NULL, &again) < 0 ||
            bls_entry_replace(with, reader, nothing, NULL, &without) < 0 ||
            bls_entry_replace(without, reader, nothing, NULL, &clean) < 0)
                abort();
        FUZZ_EXPECT(streq(with, again));
        FUZZ_EXPECT(streq(without, clean));
        expect_entry(with, reader, planned);
        expect_entry(without, reader, nothing);
}

static void check_environment(const char *text) {
        _cleanup_free_ char *block = NULL, *value = NULL;

        if (grub_environment_replace(text, "kernelopts", planned, &block) < 0)
                return;
        FUZZ_EXPECT(strlen(block) == strlen(text));
        FUZZ_EXPECT(startswith(block, "# GRUB Environment Block\n"));
        FUZZ_EXPECT(grub_environment_get(block, "kernelopts", &value) >= 0);
}

static void check_cmdline(const char *text) {
        _cleanup_free_ char *with = NULL, *again = NULL, *line = NULL, *first = NULL;

        if (kernel_cmdline_replace(text, planned, &with) < 0 ||
            kernel_cmdline_replace(with, planned, &again) < 0 ||
            kernel_cmdline_join(with, &line) < 0 || kernel_cmdline_from_options(text, &first) < 0)
                abort();
        FUZZ_EXPECT(streq(with, again));
        if (!strchr(text, '"'))
                expect_arguments(line, planned);
}

static void check_versions(const char *text) {
        _cleanup_free_ char *a = strdup(text), *id = NULL;
        char *b;
        bool is_bad;

        if (!a)
                abort();
        b = strchr(a, '\n');
        if (b)
                *b++ = '\0';
        FUZZ_EXPECT(bls_version_compare(a, a) == 0);
        FUZZ_EXPECT((bls_version_compare(a, b) > 0) == (bls_version_compare(b, a) < 0));
        id = bls_entry_id(a, &is_bad);
        FUZZ_EXPECT(id && startswith(a, id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *value = NULL;

        check_entry(text, BLS_READER_SYSTEMD_BOOT);
        check_entry(text, BLS_READER_GRUB);
        check_environment(text);
        check_cmdline(text);
        check_versions(text);
        if (bls_loader_default(text, &value) >= 0)
                FUZZ_EXPECT(*value != '\0' && !strpbrk(value, " \t\n"));
        free(value);
        value = NULL;
        if (grub_config_get(text, strlen(text), "default", &value) >= 0)
                FUZZ_EXPECT(value);
        return 0;
}
