# Samples that are no good: each mistake is named, with the file; what only looks odd is a warning.
header() { printf '\223NUMPY\001\000\106\000%-69s\n' "{'descr': '$1', 'fortran_order': False, 'shape': ($2), }"; }
# values FORMAT N: N values, each the bytes that printf makes of FORMAT
values() { for i in $(seq "$2"); do printf "$1"; done; }
# bytes N: 0, 1, 2, ... as u8
bytes() { for i in $(seq 0 $(($1 - 1))); do printf "\\$(printf %03o $((i % 256)))"; done; }
one='\000\000\200\077' inf='\000\000\200\177' huge='\377\377\177\177'

{ header '<f4' 1,3,8,8; values "$one" 191; printf "$inf"; } >inf.npy
{ header '<f4' 2,3,8,8; values "$one" 192; values "$huge" 192; } >huge.npy
{ header '<f4' 1,3,8,9; values "$one" 216; } >wide.npy
{ header '<f4' 1,8,8,3; values "$one" 192; } >last.npy
{ header '<f4' 4,8,8; values "$one" 256; } >flat.npy
{ header '<c8' 1,3,8,8; values "$one" 384; } >complex.npy
{ header '|b1' 1,3,8,8; values '\001' 192; } >bool.npy
{ header '|u1' 2,3,8,8; bytes 384; } >raw.npy
{ header '<f4' 1,3,8,8; values "$one" 64; values '\000\000\000\000' 128; } >zeros.npy
{ header '<f4' 1,3,8,8; values "$one" 100; } >short.npy
mkdir empty mixed && cp bool.npy mixed/1.npy && cp wide.npy mixed/2.npy
try() { "$mlopt" quantize "$models/$1.onnx" -o out.onnx --calib "$2" $3 >/dev/null; echo "$? $2$(ls out.onnx 2>/dev/null | sed 's/^/ -> /')"; rm -f out.onnx; }

for x in inf huge wide last flat complex short; do try tiny $x.npy; done
for x in empty mixed; do try tiny $x; done
try tiny raw.npy "--samples 0"
for x in raw bool zeros; do try tiny $x.npy; done
try tiny raw.npy "--preprocess scale=1/255"

echo "-- statistics of training tell more"
try norm raw.npy
try norm raw.npy "--preprocess scale=1/255,mean=0.5,std=0.25"
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --int8 --calib inf.npy; echo $? $(ls out.mlopt 2>/dev/null)
