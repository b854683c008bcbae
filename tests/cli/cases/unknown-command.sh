# A typing mistake is answered with the nearest command.
"$mlopt" benhc
