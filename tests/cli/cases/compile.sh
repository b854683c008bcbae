# A package appears beside nothing else, and is sound; for one machine, for several, for another kind.
for t in ml_c6i ml_m5 aarch64; do
	"$mlopt" compile "$models/tiny.onnx" -o $t.mlopt --target $t 2>err || { cat err; exit 1; }
	sed 's/ [0-9.]* \(B\|KiB\)/ N/g; s/[0-9.]* s$/N s/' err
	"$mlopt" package verify $t.mlopt | sed 's/, [0-9.]* KiB//; s/[0-9]* blobs/N blobs/'
done
rm err
ls
"$mlopt" inspect ml_m5.mlopt | sed -n 's/^model  *xxh3 [0-9a-f]\{16\},/model HASH,/p; /^input/p; /^output/p; s/: [0-9].*needs/: needs/p'
