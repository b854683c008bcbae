# Both spellings.
"$mlopt" version | sed 's/[0-9][0-9.]*/N/'
"$mlopt" --version | sed 's/[0-9][0-9.]*/N/'
