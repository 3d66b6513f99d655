#!/bin/sh
# Prints the time of the source in seconds since 1970, for what is made of it: that of the
# commit, or in a folder that is no checkout, when the changelog was written.
cd "$(dirname "$0")/.." || exit
echo "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
