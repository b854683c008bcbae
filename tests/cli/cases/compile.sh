# A package appears beside nothing else, and is sound.
"$mlopt" compile "$models/tiny.onnx" -o tiny.mlopt 2>err || exit
sed 's/[0-9.]* s$/N s/; s/: code.*weights/: code N, weights/; s/weights [0-9.]* [KM]*i*B/weights N/; s/arena [0-9.]* [KM]*i*B/arena N/; s/cached); [0-9.]* [KM]*i*B/cached); N/' err
ls
"$mlopt" package verify tiny.mlopt | sed 's/, [0-9.]* KiB//; s/[0-9]* blobs/N blobs/'
"$mlopt" inspect tiny.mlopt | sed -n 's/^package.*//; s/^model  *xxh3 [0-9a-f]*/model HASH/p; /^input/p; /^output/p'
