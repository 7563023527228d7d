-- What both Ardour scripts do with a session: ask it for tempo and metre, run sa3-daw beside it, import. Knows no dialog
-- but the progress window.

return function(sa3)
    local ardour = {}
    local TICKS_PER_QUARTER = 1920
    local PAUSE_US = 50000

    --- Everything of a request that the session knows about [first, last), in samples.
    function ardour.request(session, first, last)
        local map, place = Temporal.TempoMap.read(), Temporal.timepos_t(first)
        local metre = map:meter_at(place)
        local request = {
            num_samples = last - first,
            sample_rate = math.tointeger(session:nominal_sample_rate()),
            bpm = map:quarters_per_minute_at(place),
            numerator = math.tointeger(metre:divisions_per_bar()),
            denominator = math.tointeger(metre:note_value()),
        }
        request.start_bar = sa3.start_bar(math.tointeger(place:ticks()), TICKS_PER_QUARTER,
            request.numerator, request.denominator)
        return request
    end

    --- The loop range in samples; nil when there is none.
    function ardour.loop_range(session)
        local loop = session:locations():auto_loop_location()
        if loop and loop:start():samples() < loop:_end():samples() then
            return loop:start():samples(), loop:_end():samples()
        end
    end

    --- A path without extension inside the session, not used yet.
    function ardour.new_base(session)
        local folder = session:path() .. "/sa3"
        os.execute("mkdir -p " .. sa3.quote(folder))
        local stamp = os.date("%Y%m%d-%H%M%S")
        for number = 1, 1000 do
            local base = string.format("%s/take-%s-%d", folder, stamp, number)
            if not sa3.read_file(base .. ".wav") and not sa3.read_file(base .. ".jsonl") then return base end
        end
    end

    --- Run the words beside Ardour; the window stays alive and its button stops the command.
    function ardour.run(words, base, title)
        local files, progress = sa3.job_files(base), sa3.new_progress()
        os.forkexec("/bin/sh", "-c", sa3.shell_script(words, files))
        local window = LuaDialog.ProgressWindow(title, true)
        local stop_asked = false
        while progress:look(files).state == "running" do
            -- The window reports its button as cancelled.
            if window:canceled() and not stop_asked and sa3.read_file(files.pid) then
                stop_asked = true
                os.forkexec("/bin/sh", "-c", sa3.stop_script(files))
            end
            window:progress(progress.share, progress.text)
            ARDOUR.LuaAPI.usleep(PAUSE_US)
        end
        window:done()
        if progress.state ~= "done" then progress.state = stop_asked and "cancelled" or "failed" end
        sa3.remove_files(files)
        return progress
    end

    --- Write what a region plays, its gain apart, as a float WAV file.
    function ardour.write_region(region, path, sample_rate)
        local readable = region:to_readable()
        local memory = ARDOUR.DSP.DspShm(8192)
        local function read(channel, start, count)
            readable:read(memory:to_float(0), start, count, channel)
            return memory:to_float(0):get_table(count)
        end
        local num_channels = math.min(2, readable:n_channels())
        return sa3.write_wav(path, num_channels, readable:readable_length(), math.tointeger(sample_rate), read)
    end

    --- Put files at an exact sample: on the selected track, or on a new one.
    function ardour.import(paths, first)
        local files = C.StringVector()
        for _, path in ipairs(paths) do files:push_back(path) end
        local has_track = false
        for _ in Editor:get_selection().tracks:routelist():iter() do has_track = true end
        Editor:do_import(files, Editing.ImportDistinctFiles,
            has_track and Editing.ImportToTrack or Editing.ImportAsTrack, ARDOUR.SrcQuality.SrcBest,
            ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
            Temporal.timepos_t(first), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
    end

    return ardour
end
