#!/bin/sh
# A pass on a Cloud TPU VM slice, from asking for it to having the results. See README.md beside this file.
#
#   export TPU=clip ZONE=us-west4-a TYPE=v5litepod-16 RUNTIME=v2-alpha-tpuv5-lite
#   export SOURCE=https://github.com/me/jaxclip MODEL=ViT-L-14/openai DATA=/mnt/share/photos SHARE=10.0.0.2:/share
#   sh tpu/cloud_tpu.sh create | state | install | smoke | start | follow | stop | fetch FOLDER | delete
#
# SHARE is a file system that all hosts mount, at /mnt/share; the run lies there. A slice of one host can do without:
# BUCKET=gs://mine/clip then keeps a copy of the run. OPTIONS are further options of jaxclip run.
set -eu
: "${TPU:?the name of the slice}" "${ZONE:?its zone}"
TYPE=${TYPE:-v5litepod-16}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
OPTIONS=${OPTIONS:---batch 512 --bank}
SHARE=${SHARE:-}
run=${SHARE:+/mnt/share/}run

on_all() { gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker all --command "$1"; }

case ${1:-} in
create)
    # Spot capacity is granted sooner and may be taken away; set SPOT= for the other kind.
    # shellcheck disable=SC2086
    gcloud compute tpus queued-resources create "$TPU" --node-id "$TPU" --zone "$ZONE" \
        --accelerator-type "$TYPE" --runtime-version "$RUNTIME" ${SPOT---spot}
    ;;
state)
    gcloud compute tpus queued-resources describe "$TPU" --zone "$ZONE" --format "value(state.state)"
    ;;
install)
    # The machines come with Python 3.10.
    on_all "set -e
        sudo apt-get update -qq && sudo apt-get install -y -qq python3.11-venv nfs-common
        if [ -n '$SHARE' ] && ! mountpoint -q /mnt/share; then
            sudo mkdir -p /mnt/share && sudo mount -t nfs '$SHARE' /mnt/share
        fi
        test -d jaxclip || git clone ${SOURCE:?the repository to install}
        python3.11 -m venv jaxclip/.venv && jaxclip/.venv/bin/pip install -q -e 'jaxclip[tpu]'"
    ;;
smoke)
    on_all "cd jaxclip && .venv/bin/python tpu/smoke.py"
    ;;
start)
    : "${MODEL:?what jaxclip run is to load}" "${DATA:?the images}" "${SHARE:-${BUCKET:?where the run is kept}}"
    # The state is copied before what it counts: whatever follows the state is written again, what it lacks is lost.
    copy="mkdir -p run && gcloud storage rsync -r ${BUCKET:-}/run run || true
        nohup sh -c 'while sleep 300; do
            gcloud storage cp run/state.npz ${BUCKET:-}/state.new &&
            gcloud storage rsync -r -x state.npz run ${BUCKET:-}/run &&
            gcloud storage mv ${BUCKET:-}/state.new ${BUCKET:-}/run/state.npz; done' > copy.log 2>&1 < /dev/null &"
    [ -z "$SHARE" ] || copy=
    on_all "$copy
        nohup jaxclip/.venv/bin/jaxclip run $MODEL $DATA --out $run $OPTIONS > run.log 2>&1 < /dev/null & sleep 1"
    ;;
follow)
    on_all "tail -n 20 -f run.log"
    ;;
stop)
    # It saves and ends; `start` goes on. The brackets keep this command from finding itself.
    on_all "pkill -TERM -f '[b]in/jaxclip run'"
    ;;
fetch)
    gcloud compute tpus tpu-vm scp --recurse "$TPU:$run" "${2:?a folder for the run}" --zone "$ZONE" --worker 0
    ;;
delete)
    gcloud compute tpus queued-resources delete "$TPU" --zone "$ZONE" --force
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
