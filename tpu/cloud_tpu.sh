#!/bin/sh
# A pass on one Cloud TPU VM, from asking for it to having the results. See README.md beside this file.
#
#   export TPU=clip ZONE=us-west4-a TYPE=v5litepod-8 RUNTIME=v2-alpha-tpuv5-lite BUCKET=gs://mine/clip
#   export SOURCE=https://github.com/me/jaxclip MODEL=ViT-L-14/openai DATA=/mnt/photos
#   sh tpu/cloud_tpu.sh create | state | install | smoke | start | follow | fetch FOLDER | delete
#
# `start` after an interruption goes on where the copy in BUCKET is; OPTIONS are further options of jaxclip run.
set -eu
: "${TPU:?the name of the machine}" "${ZONE:?its zone}"
TYPE=${TYPE:-v5litepod-8}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
OPTIONS=${OPTIONS:---batch 256 --bank}

on_tpu() { gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker all --command "$1"; }

case ${1:-} in
create)
    # Spot capacity is granted sooner and may be taken away; set SPOT= for the other kind.
    gcloud compute tpus queued-resources create "$TPU" --node-id "$TPU" --zone "$ZONE" \
        --accelerator-type "$TYPE" --runtime-version "$RUNTIME" ${SPOT---spot}
    ;;
state)
    gcloud compute tpus queued-resources describe "$TPU" --zone "$ZONE" --format "value(state.state)"
    ;;
install)
    on_tpu "test -d jaxclip || git clone ${SOURCE:?the repository to install}
        python3 -m venv jaxclip/.venv && jaxclip/.venv/bin/pip install -q -e 'jaxclip[tpu]'"
    ;;
smoke)
    on_tpu "cd jaxclip && .venv/bin/python tpu/smoke.py"
    ;;
start)
    : "${MODEL:?what jaxclip run is to load}" "${DATA:?the images}" "${BUCKET:?where the run is kept}"
    # The state is copied before what it counts: whatever follows the state is written again, what it lacks is lost.
    on_tpu "mkdir -p run && gcloud storage rsync -r $BUCKET/run run || true
        nohup sh -c 'while sleep 300; do
            gcloud storage cp run/state.npz $BUCKET/state.new && gcloud storage rsync -r -x state.npz run $BUCKET/run &&
            gcloud storage mv $BUCKET/state.new $BUCKET/run/state.npz; done' > copy.log 2>&1 < /dev/null &
        nohup jaxclip/.venv/bin/jaxclip run $MODEL $DATA --out run $OPTIONS > run.log 2>&1 < /dev/null & sleep 1"
    ;;
follow)
    on_tpu "tail -n 20 -f run.log"
    ;;
fetch)
    gcloud compute tpus tpu-vm scp --recurse "$TPU":run "${2:?a folder for the run}" --zone "$ZONE" --worker 0
    ;;
delete)
    gcloud compute tpus queued-resources delete "$TPU" --zone "$ZONE" --force
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
