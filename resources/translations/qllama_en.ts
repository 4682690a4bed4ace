<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="en">
<context>
    <name>qllama::DeviceMenu</name>
    <message numerus="yes">
        <source>%n core(s)</source>
        <translation>
            <numerusform>%n core</numerusform>
            <numerusform>%n cores</numerusform>
        </translation>
    </message>
    <message numerus="yes">
        <source>%n compute unit(s)</source>
        <translation>
            <numerusform>%n compute unit</numerusform>
            <numerusform>%n compute units</numerusform>
        </translation>
    </message>
    <message numerus="yes">
        <source>Found %n device(s):</source>
        <translation>
            <numerusform>Found %n device:</numerusform>
            <numerusform>Found %n devices:</numerusform>
        </translation>
    </message>
    <message numerus="yes">
        <source>%n device(s):</source>
        <translation>
            <numerusform>%n device:</numerusform>
            <numerusform>%n devices:</numerusform>
        </translation>
    </message>
</context>
<context>
    <name>qllama::LoadPanel</name>
    <message numerus="yes">
        <source>all %n core(s)</source>
        <translation>
            <numerusform>%n core</numerusform>
            <numerusform>all %n cores</numerusform>
        </translation>
    </message>
</context>
<context>
    <name>qllama::MainWindow</name>
    <message numerus="yes">
        <source>%n device(s)</source>
        <translation>
            <numerusform>%n device</numerusform>
            <numerusform>%n devices</numerusform>
        </translation>
    </message>
</context>
<context>
    <name>qllama::StatusStrip</name>
    <message numerus="yes">
        <source>%n device(s)</source>
        <translation>
            <numerusform>%n device</numerusform>
            <numerusform>%n devices</numerusform>
        </translation>
    </message>
    <message numerus="yes">
        <source>Going to %n device(s)</source>
        <translation>
            <numerusform>Going to %n device</numerusform>
            <numerusform>Going to %n devices</numerusform>
        </translation>
    </message>
    <message numerus="yes">
        <source>%n token(s)</source>
        <translation>
            <numerusform>%n token</numerusform>
            <numerusform>%n tokens</numerusform>
        </translation>
    </message>
    <message numerus="yes">
        <source>%n thread(s)</source>
        <translation>
            <numerusform>%n thread</numerusform>
            <numerusform>%n threads</numerusform>
        </translation>
    </message>
</context>
<context>
    <name>qllama::WeightCacheDialog</name>
    <message numerus="yes">
        <source>Delete %n file(s) of kept weights, %1?</source>
        <translation>
            <numerusform>Delete %n file of kept weights, %1?</numerusform>
            <numerusform>Delete %n files of kept weights, %1?</numerusform>
        </translation>
    </message>
</context>
</TS>
