#!/bin/sh
# PID 1 of the guest that the quickstart, the tests and the benches run on. Everything it does is
# chosen on the kernel command line: komadori.mode=counter|pattern|dirty|idle, komadori.agent=1,
# komadori.dirty=MIB (dirty mode).
export PATH=/bin:/usr/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /run /tmp /mnt /var/run /var/log
mount -t tmpfs -o size=90% memory /run
exec </dev/console >/dev/console 2>&1

while read -r module; do
  # Some have no device here; what is needed and missing shows when it is waited for.
  insmod "/lib/modules/$module" 2>/dev/null
done </lib/modules/load-order

mode=idle
agent=0
dirty=64
for word in $(cat /proc/cmdline); do
  case $word in
  komadori.mode=*) mode=${word#*=} ;;
  komadori.agent=*) agent=${word#*=} ;;
  komadori.dirty=*) dirty=${word#*=} ;;
  esac
done

# `read -t` waits without starting a process, which takes 5 to 10 ms in an emulated CPU.
mkfifo /run/never
exec 9<>/run/never
pause() {
  read -r -t "$1" ignored <&9
}

stop_here() {
  echo "STOPPED $1"
  while :; do pause 3600; done
}

wait_for_device() {
  tries=0
  while [ ! -b "/dev/$1" ]; do
    tries=$((tries + 1))
    [ "$tries" -gt 100 ] && stop_here "there is no disk $1"
    pause 0.1
  done
}

start_agent() {
  for port in /sys/class/virtio-ports/*; do
    [ -e "$port/name" ] || continue
    if [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ]; then
      qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run >/run/agent.log 2>&1 &
      echo "agent started"
      return
    fi
  done
  echo "agent has no port"
}

VENDOR=6b6f6d61-646f-7269-7465-737467756573
report_firmware() {
  if [ -d /sys/firmware/efi ]; then
    mount -t efivarfs efivarfs /sys/firmware/efi/efivars
    # One more variable at each boot: the NVRAM file changes, as it does with a real system. A new
    # name each time, because variables that Linux does not know may not be written twice.
    boots=0
    while [ -e "/sys/firmware/efi/efivars/KomadoriBoot$((boots + 1))-$VENDOR" ]; do
      boots=$((boots + 1))
    done
    boots=$((boots + 1))
    printf '\007\000\000\000boot' >/run/variable
    cat /run/variable >"/sys/firmware/efi/efivars/KomadoriBoot$boots-$VENDOR"
    echo "firmware uefi boots=$boots"
  else
    echo "firmware bios"
  fi
  for tpm in /sys/class/tpm/tpm*; do
    [ -e "$tpm" ] && echo "tpm version=$(cat "$tpm/tpm_version_major")"
  done
}

# Prints and stores a counter on an ext4 file system; goes on from what the disk says.
run_counter() {
  wait_for_device vda
  mount -t ext4 /dev/vda /mnt || stop_here "vda holds no ext4 file system"
  count=0
  [ -e /mnt/count ] && read -r count </mnt/count
  echo "counter starts after ${count:=0}"
  while :; do
    count=$((count + 1))
    echo "$count" >/mnt/count.new
    mv /mnt/count.new /mnt/count
    echo "tick $count" >>/mnt/ticks
    sync
    echo "tick $count"
    pause 0.2
  done
}

RECORD_BLOCK=256
write_record() {
  echo "$2" | dd of="/dev/$1" bs=4096 seek=$RECORD_BLOCK conv=sync,notrunc,fsync oflag=direct 2>/dev/null ||
    echo "VIOLATION writing $2 to $1 failed"
}
# Sets `record`: 0 on a fresh disk.
read_record() {
  if ! dd if="/dev/$1" of=/run/record bs=4096 skip=$RECORD_BLOCK count=1 iflag=direct 2>/dev/null; then
    echo "VIOLATION reading $1 failed"
  fi
  record=0
  read -r record </run/record
  case $record in '' | *[!0-9]*) record=0 ;; esac
}

# Record n goes to vda, then to vdb, then to memory, so at every instant
# vda >= vdb >= memory >= vda - 1. Each store is read back before, between and after the writes, so
# that whatever instant a snapshot took, a store that was put back to another instant shows up.
expect() {
  read_record vda
  [ "$record" = "$2" ] || violation "$1: vda has $record, not $2"
  if [ -n "$second" ]; then
    read_record vdb
    [ "$record" = "$3" ] || violation "$1: vdb has $record, not $3"
  fi
  record=none
  read -r record </run/memory
  [ "$record" = "$4" ] || violation "$1: memory has $record, not $4"
}
violation() {
  violated=1
  echo "VIOLATION round $round $1"
}

run_pattern() {
  wait_for_device vda
  second=
  [ -e /sys/block/vdb ] && second=vdb
  read_record vda
  first_record=$record
  second_record=$record
  if [ -n "$second" ]; then
    read_record vdb
    second_record=$record
  fi
  round=$first_record
  echo "pattern starts with vda=$first_record vdb=$second_record"
  # Without the memory only the disks can be compared: vdb may be one record behind.
  if [ "$second_record" -gt "$first_record" ] || [ "$second_record" -lt $((first_record - 1)) ]; then
    violation "start: vda has $first_record, vdb has $second_record"
  fi
  [ -n "$second" ] && write_record vdb "$round"
  echo "$round" >/run/memory
  while :; do
    last=$round
    round=$((round + 1))
    violated=
    expect before "$last" "$last" "$last"
    write_record vda "$round"
    expect "after vda" "$round" "$last" "$last"
    [ -n "$second" ] && write_record vdb "$round"
    expect "after vdb" "$round" "$round" "$last"
    echo "$round" >/run/memory
    expect after "$round" "$round" "$round"
    [ -z "$violated" ] && echo "round $round ok"
    pause 0.05
  done
}

# Rewrites memory without end while another process prints a heartbeat.
run_dirty() {
  dd if=/dev/urandom of=/run/source bs=1M count=8 2>/dev/null
  blocks=$((dirty / 8))
  [ "$blocks" -lt 1 ] && blocks=1
  (
    pass=0
    while :; do
      block=0
      while [ "$block" -lt "$blocks" ]; do
        dd if=/run/source of=/run/dirty bs=1M seek=$((block * 8)) conv=notrunc 2>/dev/null ||
          stop_here "rewriting memory failed"
        block=$((block + 1))
      done
      pass=$((pass + 1))
      echo "pass $pass"
      dd if=/dev/urandom of=/run/source bs=1M count=8 2>/dev/null
    done
  ) &
  beat=0
  while :; do
    beat=$((beat + 1))
    read -r uptime ignored </proc/uptime
    echo "beat $beat $uptime"
    pause 0.05
  done
}

report_firmware
[ "$agent" = 1 ] && start_agent
echo "guest ready mode=$mode"
case $mode in
counter) run_counter ;;
pattern) run_pattern ;;
dirty) run_dirty ;;
idle) while :; do pause 3600; done ;;
*) stop_here "there is no mode $mode" ;;
esac
